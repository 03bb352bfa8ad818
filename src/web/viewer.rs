//! `/viewer/`: the files of a viewer (OHIF, unmodified), and the `app-config.js` that points it at this node.
//!
//! Files need no token, they are the same for everybody; what the viewer shows it asks for with the token of its user,
//! which OHIF takes from `?token=` in its address. The headers are those without which it may not share memory between
//! its threads (cross-origin isolation).

use super::Site;
use crate::config::HttpListener;
use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Redirect},
    routing::{get, get_service},
};
use std::sync::Arc;
use tower_http::{
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
};

const COOP: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const COEP: HeaderName = HeaderName::from_static("cross-origin-embedder-policy");
const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// OHIF compiles its codecs (WebAssembly), runs them in workers made from blobs, and styles elements from scripts.
const POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; \
                      worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
                      font-src 'self' data:; connect-src 'self' data: blob:; frame-ancestors 'self'; object-src 'none'; \
                      base-uri 'self'; form-action 'self'";

/// What OHIF 3 reads: where DICOMweb is. Links of this node are absolute, so no relative ones are resolved.
const APP_CONFIG: &str = r#"window.config = {
  routerBasename: '/viewer',
  showStudyList: true,
  extensions: [],
  modes: [],
  customizationService: {},
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'neisse',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'neisse',
      configuration: {
        friendlyName: 'Neisse',
        name: 'neisse',
        qidoRoot: window.location.origin + '/dicom-web',
        wadoRoot: window.location.origin + '/dicom-web',
        wadoUriRoot: window.location.origin + '/dicom-web',
        qidoSupportsIncludeField: true,
        supportsReject: false,
        supportsStow: true,
        supportsFuzzyMatching: true,
        supportsWildcard: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        dicomUploadEnabled: false,
        singlepart: 'bulkdata,pdf,video',
        bulkDataURI: { enabled: true },
        omitQuotationForMultipartRequest: true,
      },
    },
  ],
};
"#;

/// Adds the viewer, if there is one.
pub fn mount(router: Router<Arc<Site>>, config: &HttpListener) -> Router<Arc<Site>> {
    let Some(folder) = &config.viewer else { return router };
    // A page of the viewer's own, such as /viewer/viewer?StudyInstanceUIDs=…, is no file: the viewer itself knows it.
    let files = ServeDir::new(folder).fallback(ServeFile::new(folder.join("index.html")));
    let own = config.viewer_config.clone().map(ServeFile::new);
    let app_config = match own {
        Some(file) => get_service(file),
        None => {
            get(|| async { ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], APP_CONFIG).into_response() })
        }
    };
    let set = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    let pages = Router::new()
        .route("/viewer/app-config.js", app_config)
        .nest_service("/viewer/", files)
        .layer(set(COOP, "same-origin"))
        .layer(set(COEP, "require-corp"))
        .layer(set(CORP, "same-origin"))
        .layer(set(header::CONTENT_SECURITY_POLICY, POLICY))
        .layer(set(header::REFERRER_POLICY, "no-referrer"))
        .layer(set(header::CACHE_CONTROL, "no-cache"));
    router.route("/viewer", get(|| async { Redirect::permanent("/viewer/") })).merge(pages)
}
