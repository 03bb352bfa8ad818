//! At the root, below everything else: the files of a viewer (OHIF, unmodified), and the `app-config.js` that points it at this
//! node. The root, because that is where the published viewer is built to lie: its pages name their parts by absolute paths.
//!
//! Files need no token, they are the same for everybody; what the viewer shows it asks for with the token of its user,
//! which OHIF takes from `?token=` in its address. The headers are those without which it may not share memory between
//! its threads (cross-origin isolation).

use super::{Problem, Site};
use crate::config::HttpListener;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, get_service},
};
use std::{collections::BTreeSet, sync::Arc};
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
  routerBasename: '/',
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

/// Adds the viewer, if there is one: what no route answers is a file of it, or one of its own pages, such as
/// `/viewer?StudyInstanceUIDs=…`, which the viewer itself knows. `taken`: first segments of what is no page of it.
pub fn mount(router: Router<Arc<Site>>, config: &HttpListener, taken: &BTreeSet<&'static str>) -> Router<Arc<Site>> {
    let Some(folder) = &config.viewer else { return router.fallback(|| async { Problem::not_found() }) };
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
        .route("/app-config.js", app_config)
        .fallback_service(files)
        .layer(set(COOP, "same-origin"))
        .layer(set(COEP, "require-corp"))
        .layer(set(CORP, "same-origin"))
        .layer(set(header::CONTENT_SECURITY_POLICY, POLICY))
        .layer(set(header::REFERRER_POLICY, "no-referrer"))
        .layer(set(header::CACHE_CONTROL, "no-cache"));
    let taken = Arc::new(taken.clone());
    router.fallback_service(pages.layer(middleware::from_fn_with_state(taken, only_pages)))
}

/// What is not found below a folder of ours is no page of the viewer.
async fn only_pages(State(taken): State<Arc<BTreeSet<&'static str>>>, request: Request, next: Next) -> Response {
    let first = request.uri().path().split('/').nth(1).unwrap_or_default();
    if taken.contains(first) { Problem::not_found().into_response() } else { next.run(request).await }
}
