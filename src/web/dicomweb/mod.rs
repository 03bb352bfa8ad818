//! DICOMweb (PS3.18 10) under `/dicom-web`: QIDO-RS, WADO-RS, STOW-RS.
//!
//! In: URLs, headers and bodies. Out: questions to [`crate::dicom::service::Services`] and instances to the intake, and
//! their answers in HTTP's words. What a caller may not see is not found.

mod accept;
mod json_data_set;
mod metadata;
mod multipart;
mod places;
mod qido;
mod rendered;
mod shelf;
mod stow;
mod stow_json;
mod stow_plan;
mod stow_response;
mod stream;
mod wado;
mod wado_frames;

pub use shelf::Shelf;

use super::{
    Caller, Problem, Site,
    routes::{Entry, Gives, Parameter, Takes, Verb},
};
use crate::{
    dicom::service::{DataSet, Fetch, HeldInstance},
    model::Uid,
};
use axum::{http::StatusCode, routing::get};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use std::sync::Arc;

pub const ROOT: &str = "/dicom-web";
const DICOM_JSON: &str = "application/dicom+json";
const DICOM: &str = "application/dicom";
const OCTETS: &str = "application/octet-stream";
const MULTIPART: &str = "multipart/related";

const SEARCH: &[Parameter] = &[
    Parameter { name: "limit", what: "Answers at most; 1000 at the most, and by default." },
    Parameter { name: "offset", what: "Answers to pass over." },
    Parameter { name: "includefield", what: "Further attributes, by tag or keyword, or all." },
    Parameter { name: "fuzzymatching", what: "true: names are compared without case and marks." },
];
const FOUND: &[Gives] = &[
    Gives::new(200, "What was found.", &[DICOM_JSON]),
    Gives::new(204, "Nothing was found.", &[]),
    Gives::new(400, "A parameter is not understood.", &[]),
];
const INSTANCES: &[Gives] = &[
    Gives::new(200, "The instances, as they were received.", &[MULTIPART, DICOM]),
    Gives::new(404, "Nothing of the kind.", &[]),
    Gives::new(406, "Not in what is accepted: instances are not transcoded.", &[]),
];
const METADATA: &[Gives] = &[
    Gives::new(200, "The headers, with links for what is long.", &[DICOM_JSON]),
    Gives::new(404, "Nothing of the kind.", &[]),
    Gives::new(406, "Not in what is accepted.", &[]),
];
const PARTS: &[Gives] = &[
    Gives::new(200, "As it was received.", &[MULTIPART, OCTETS]),
    Gives::new(404, "Nothing of the kind.", &[]),
    Gives::new(406, "Not in what is accepted: frames are not transcoded.", &[]),
];
const IMAGES: &[Gives] = &[
    Gives::new(200, "One frame as a picture.", &["image/jpeg", "image/png"]),
    Gives::new(404, "Nothing of the kind.", &[]),
    Gives::new(406, "Not in what is accepted, or not to be made into a picture.", &[]),
];
const STORED: &[Gives] = &[
    Gives::new(200, "All are stored, and would survive a power cut.", &[DICOM_JSON]),
    Gives::new(202, "Some are stored.", &[DICOM_JSON]),
    Gives::new(400, "The body is not understood.", &[DICOM_JSON]),
    Gives::new(409, "None is stored.", &[DICOM_JSON]),
    Gives::new(415, "Not a media type that is taken.", &[]),
    Gives::new(503, "The disk is below its reserve.", &[DICOM_JSON]),
];
const VIEWPORT: &[Parameter] = &[Parameter { name: "viewport", what: "width,height: the picture fits into it." }];
const STOW_BODIES: &[&str] =
    &["multipart/related; type=\"application/dicom\"", "multipart/related; type=\"application/dicom+json\""];

/// A GET under [`ROOT`] that needs a token.
macro_rules! asks {
    ($path:literal, $summary:literal, $query:expr, $gives:expr, $handler:path) => {
        Entry {
            path: concat!("/dicom-web", $path),
            method: Verb::Get,
            is_open: false,
            group: "DICOMweb",
            summary: $summary,
            query: $query,
            takes: Takes::Nothing,
            gives: $gives,
            handler: || get($handler),
        }
    };
}

pub const ROUTES: &[Entry] = &[
    asks!("/studies", "Search for studies (QIDO-RS).", SEARCH, FOUND, qido::studies),
    asks!("/series", "Search for series.", SEARCH, FOUND, qido::series),
    asks!("/instances", "Search for instances.", SEARCH, FOUND, qido::instances),
    asks!("/studies/{study}/series", "Search for series of a study.", SEARCH, FOUND, qido::series_of),
    asks!("/studies/{study}/instances", "Search for instances of a study.", SEARCH, FOUND, qido::instances_of),
    asks!(
        "/studies/{study}/series/{series}/instances",
        "Search for instances of a series.",
        SEARCH,
        FOUND,
        qido::instances_of_series
    ),
    asks!("/studies/{study}", "Retrieve a study (WADO-RS).", &[], INSTANCES, wado::study),
    asks!("/studies/{study}/series/{series}", "Retrieve a series.", &[], INSTANCES, wado::series),
    asks!(
        "/studies/{study}/series/{series}/instances/{instance}",
        "Retrieve an instance.",
        &[],
        INSTANCES,
        wado::instance
    ),
    asks!("/studies/{study}/metadata", "Headers of a study.", &[], METADATA, metadata::study),
    asks!("/studies/{study}/series/{series}/metadata", "Headers of a series.", &[], METADATA, metadata::series),
    asks!(
        "/studies/{study}/series/{series}/instances/{instance}/metadata",
        "Header of an instance.",
        &[],
        METADATA,
        metadata::instance
    ),
    asks!(
        "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}",
        "Retrieve frames: numbers from 1, separated by commas.",
        &[],
        PARTS,
        wado_frames::frames
    ),
    asks!(
        "/studies/{study}/series/{series}/instances/{instance}/bulkdata/{*path}",
        "Retrieve a value that metadata has a link for.",
        &[],
        PARTS,
        wado_frames::bulkdata
    ),
    asks!(
        "/studies/{study}/series/{series}/instances/{instance}/rendered",
        "The first frame as a picture.",
        VIEWPORT,
        IMAGES,
        rendered::instance
    ),
    asks!(
        "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}/rendered",
        "A frame as a picture.",
        VIEWPORT,
        IMAGES,
        rendered::frame
    ),
    asks!(
        "/studies/{study}/series/{series}/instances/{instance}/thumbnail",
        "A small picture of an instance.",
        VIEWPORT,
        IMAGES,
        rendered::instance_thumbnail
    ),
    asks!(
        "/studies/{study}/series/{series}/thumbnail",
        "A small picture of a series.",
        VIEWPORT,
        IMAGES,
        rendered::series_thumbnail
    ),
    asks!("/studies/{study}/thumbnail", "A small picture of a study.", VIEWPORT, IMAGES, rendered::study_thumbnail),
    Entry {
        path: "/dicom-web/studies",
        method: Verb::Post,
        is_open: false,
        group: "DICOMweb",
        summary: "Store instances (STOW-RS).",
        query: &[],
        takes: Takes::Stream(STOW_BODIES),
        gives: STORED,
        handler: || axum::routing::post(stow::any),
    },
    Entry {
        path: "/dicom-web/studies/{study}",
        method: Verb::Post,
        is_open: false,
        group: "DICOMweb",
        summary: "Store instances of one study (STOW-RS).",
        query: &[],
        takes: Takes::Stream(STOW_BODIES),
        gives: STORED,
        handler: || axum::routing::post(stow::of_study),
    },
];

/// A UID of the path. It is not repeated in the answer: it may be anything.
fn uid(text: &str) -> Result<Uid, Problem> {
    Uid::new(text).map_err(|_| Problem::bad_request("a UID of the path is none (PS3.5 9.1)"))
}

fn put(set: &mut DataSet, tag: Tag, vr: VR, value: &str) {
    let value = if value.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(value) };
    set.put(DataElement::new(tag, vr, value));
}

/// Study, or series, or instance, that the path names.
struct Below {
    study: Uid,
    series: Option<Uid>,
    instance: Option<Uid>,
}

impl Below {
    fn study(study: &str) -> Result<Self, Problem> {
        Ok(Self { study: uid(study)?, series: None, instance: None })
    }

    fn series((study, series): &(String, String)) -> Result<Self, Problem> {
        Ok(Self { series: Some(uid(series)?), ..Self::study(study)? })
    }

    fn instance(study: &str, series: &str, instance: &str) -> Result<Self, Problem> {
        Ok(Self { study: uid(study)?, series: Some(uid(series)?), instance: Some(uid(instance)?) })
    }

    /// PS3.4 C.6.2.1: level and unique keys.
    fn identifier(&self) -> DataSet {
        let mut keys = DataSet::new_empty();
        let level = match (&self.series, &self.instance) {
            (_, Some(_)) => "IMAGE",
            (Some(_), None) => "SERIES",
            (None, None) => "STUDY",
        };
        put(&mut keys, tags::QUERY_RETRIEVE_LEVEL, VR::CS, level);
        put(&mut keys, tags::STUDY_INSTANCE_UID, VR::UI, self.study.as_str());
        if let Some(series) = &self.series {
            put(&mut keys, tags::SERIES_INSTANCE_UID, VR::UI, series.as_str());
        }
        if let Some(instance) = &self.instance {
            put(&mut keys, tags::SOP_INSTANCE_UID, VR::UI, instance.as_str());
        }
        keys
    }

    /// What the caller may have of it.
    ///
    /// # Errors
    /// 404 where that is nothing.
    async fn retrieve(&self, site: &Site, caller: &Caller) -> Result<Vec<HeldInstance>, Problem> {
        let held = site.services()?.retrieve(&caller.0, Fetch::Web, self.identifier()).await?;
        if held.is_empty() { Err(Problem::not_found()) } else { Ok(held) }
    }

    /// The one instance it names.
    async fn retrieve_one(&self, site: &Site, caller: &Caller) -> Result<HeldInstance, Problem> {
        self.retrieve(site, caller).await?.into_iter().next().ok_or(Problem::not_found())
    }
}

/// Where an instance is, without a slash at its end.
fn instance_url(base: &str, held: &HeldInstance) -> String {
    format!("{base}{ROOT}/studies/{}/series/{}/instances/{}", held.study, held.series, held.sop_instance)
}

/// What the journal or a header is wrong with: told in the log, by our own words.
fn unreadable(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error = %crate::model::chain(error), "An instance could not be served: {what}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the instance cannot be read")
}

type Shared = axum::extract::State<Arc<Site>>;
