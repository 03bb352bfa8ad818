//! Answers of the handler in the DICOM JSON Model (PS3.18 F).
//!
//! In: data sets whose text is UTF-8. Out: JSON; several values in one text, as a store keeps them, are told apart here,
//! because the library that writes the rest does not.

use crate::dicom::service::DataSet;
use serde_json::{Map, Value, json};

/// VRs whose values may hold a backslash (PS3.5 6.2).
const WHOLE: [&str; 4] = ["LT", "ST", "UT", "UR"];

/// One data set. What cannot be written is left out, which the caller is told by `None` alone.
pub fn to_json(set: &DataSet) -> Option<Value> {
    let mut object = dicom_json::to_value(set).ok()?;
    let members = object.as_object_mut()?;
    members.values_mut().for_each(mend);
    members.insert("00080005".to_owned(), json!({ "vr": "CS", "Value": ["ISO_IR 192"] }));
    Some(object)
}

fn mend(element: &mut Value) {
    let Some(members) = element.as_object_mut() else { return };
    let vr = members.get("vr").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(values) = members.get_mut("Value").and_then(Value::as_array_mut) {
        if vr == "SQ" {
            let items = values.iter_mut().filter_map(Value::as_object_mut);
            items.flat_map(|item| item.values_mut()).for_each(mend);
        } else if !WHOLE.contains(&vr.as_str()) {
            let told_apart = std::mem::take(values).into_iter().flat_map(split);
            *values = told_apart.collect();
        }
    }
    // PS3.18 F.2.5: an element without values has no Value.
    let is_empty = members.get("Value").and_then(Value::as_array).is_some_and(|values| values.iter().all(is_nothing));
    if is_empty {
        members.remove("Value");
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

fn split(value: Value) -> Vec<Value> {
    match value {
        Value::String(text) if text.contains('\\') => text.split('\\').map(part).collect(),
        Value::String(text) => vec![part(&text)],
        Value::Object(name) => names(name),
        other => vec![other],
    }
}

fn part(text: &str) -> Value {
    let text = text.trim_matches([' ', '\0']);
    if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) }
}

/// A person name whose groups hold several names each.
fn names(name: Map<String, Value>) -> Vec<Value> {
    let count = name.values().filter_map(Value::as_str).map(|text| text.split('\\').count()).max().unwrap_or(0);
    let one = |at: usize| {
        let groups = name.iter().filter_map(|(group, text)| {
            let text = text.as_str()?.split('\\').nth(at)?.trim_matches([' ', '\0']);
            (!text.is_empty()).then(|| (group.clone(), Value::String(text.to_owned())))
        });
        let groups: Map<String, Value> = groups.collect();
        if groups.is_empty() { Value::Null } else { Value::Object(groups) }
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use dicom_dictionary_std::tags;

    #[test]
    fn several_values_in_one_text_are_told_apart_and_texts_stay_whole() {
        let mut set = DataSet::new_empty();
        let mut put = |tag, vr, text: &str| set.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
        put(tags::MODALITIES_IN_STUDY, VR::CS, "CT\\SR");
        put(tags::PATIENT_NAME, VR::PN, "Świątek^Łucja=^=");
        put(tags::PATIENT_COMMENTS, VR::LT, "C:\\scans");
        put(tags::STUDY_ID, VR::SH, "");
        put(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3\0");
        let json = to_json(&set).unwrap();
        assert_eq!(json["00080061"]["Value"], json!(["CT", "SR"]));
        assert_eq!(json["00100010"]["Value"][0]["Alphabetic"], "Świątek^Łucja");
        assert_eq!(json["00104000"]["Value"][0], "C:\\scans");
        assert_eq!(json["0020000D"]["Value"], json!(["1.2.3"]));
        assert_eq!(json["00200010"], json!({ "vr": "SH" }));
        assert_eq!(json["00080005"]["Value"][0], "ISO_IR 192");
    }
}
