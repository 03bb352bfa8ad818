//! Which elements are kept, and where they stand.

/// A data element tag as one number: group in the high half.
pub(super) const fn tag(group: u16, element: u16) -> u32 {
    (group as u32) << 16 | element as u32
}

/// Specimens of one container that are read.
pub(super) const MAX_SPECIMENS: u8 = 16;

/// Where an element stands. Of the sequences only the first item is read, but for the specimens of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Top,
    /// First item of Issuer of Accession Number Sequence (0008,0051).
    AccessionIssuer,
    /// First item of Request Attributes Sequence (0040,0275).
    RequestAttributes,
    /// (0008,0051) in the first item of (0040,0275).
    RequestAccessionIssuer,
    /// First item of Issuer of the Container Identifier Sequence (0040,0513).
    ContainerIssuer,
    /// An item of Specimen Description Sequence (0040,0560), from 1.
    Specimen(u8),
    /// First item of Issuer of the Specimen Identifier Sequence (0040,0562) in that item.
    SpecimenIssuer(u8),
}

pub(super) const SPECIFIC_CHARACTER_SET: u32 = tag(0x0008, 0x0005);
pub(super) const SOP_CLASS_UID: u32 = tag(0x0008, 0x0016);
pub(super) const SOP_INSTANCE_UID: u32 = tag(0x0008, 0x0018);
pub(super) const STUDY_DATE: u32 = tag(0x0008, 0x0020);
pub(super) const STUDY_TIME: u32 = tag(0x0008, 0x0030);
pub(super) const ACCESSION_NUMBER: u32 = tag(0x0008, 0x0050);
pub(super) const ISSUER_OF_ACCESSION_NUMBER: u32 = tag(0x0008, 0x0051);
pub(super) const MODALITY: u32 = tag(0x0008, 0x0060);
pub(super) const REFERRING_PHYSICIAN: u32 = tag(0x0008, 0x0090);
pub(super) const STUDY_DESCRIPTION: u32 = tag(0x0008, 0x1030);
pub(super) const SERIES_DESCRIPTION: u32 = tag(0x0008, 0x103E);
pub(super) const PATIENT_NAME: u32 = tag(0x0010, 0x0010);
pub(super) const PATIENT_ID: u32 = tag(0x0010, 0x0020);
pub(super) const ISSUER_OF_PATIENT_ID: u32 = tag(0x0010, 0x0021);
pub(super) const BIRTH_DATE: u32 = tag(0x0010, 0x0030);
pub(super) const SEX: u32 = tag(0x0010, 0x0040);
pub(super) const BODY_PART: u32 = tag(0x0018, 0x0015);
pub(super) const STUDY_INSTANCE_UID: u32 = tag(0x0020, 0x000D);
pub(super) const SERIES_INSTANCE_UID: u32 = tag(0x0020, 0x000E);
pub(super) const STUDY_ID: u32 = tag(0x0020, 0x0010);
pub(super) const SERIES_NUMBER: u32 = tag(0x0020, 0x0011);
pub(super) const INSTANCE_NUMBER: u32 = tag(0x0020, 0x0013);
pub(super) const NUMBER_OF_STUDY_INSTANCES: u32 = tag(0x0020, 0x1208);
pub(super) const LOCAL_NAMESPACE: u32 = tag(0x0040, 0x0031);
pub(super) const UNIVERSAL_ENTITY_ID: u32 = tag(0x0040, 0x0032);
pub(super) const PERFORMED_DATE: u32 = tag(0x0040, 0x0244);
pub(super) const PERFORMED_TIME: u32 = tag(0x0040, 0x0245);
pub(super) const REQUEST_ATTRIBUTES: u32 = tag(0x0040, 0x0275);
pub(super) const CONTAINER_ID: u32 = tag(0x0040, 0x0512);
pub(super) const CONTAINER_ISSUER: u32 = tag(0x0040, 0x0513);
pub(super) const SPECIMEN_ID: u32 = tag(0x0040, 0x0551);
pub(super) const SPECIMENS: u32 = tag(0x0040, 0x0560);
pub(super) const SPECIMEN_ISSUER: u32 = tag(0x0040, 0x0562);
pub(super) const PRIORITY: u32 = tag(0x0040, 0x1003);
pub(super) const PLACER_ORDER_NUMBER: u32 = tag(0x0040, 0x2016);
pub(super) const FILLER_ORDER_NUMBER: u32 = tag(0x0040, 0x2017);

/// In a data set in order, nothing wanted comes after this.
pub(super) const LAST: u32 = FILLER_ORDER_NUMBER;

/// What an instance cannot be indexed without.
pub(super) const ESSENTIAL: [u32; 4] = [SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID];

/// What only describes: whoever says one of these twice is no less believed in the rest.
const DESCRIBING: [u32; 6] =
    [SERIES_DESCRIPTION, STUDY_ID, SERIES_NUMBER, INSTANCE_NUMBER, PERFORMED_DATE, PERFORMED_TIME];

pub(super) fn only_describes(tag: u32) -> bool {
    DESCRIBING.contains(&tag)
}

const TOP: [u32; 22] = [
    SPECIFIC_CHARACTER_SET,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_DATE,
    STUDY_TIME,
    ACCESSION_NUMBER,
    MODALITY,
    REFERRING_PHYSICIAN,
    STUDY_DESCRIPTION,
    PATIENT_NAME,
    PATIENT_ID,
    ISSUER_OF_PATIENT_ID,
    BIRTH_DATE,
    SEX,
    BODY_PART,
    STUDY_INSTANCE_UID,
    SERIES_INSTANCE_UID,
    NUMBER_OF_STUDY_INSTANCES,
    CONTAINER_ID,
    PRIORITY,
    PLACER_ORDER_NUMBER,
    FILLER_ORDER_NUMBER,
];

const IN_REQUEST: [u32; 5] =
    [SPECIFIC_CHARACTER_SET, ACCESSION_NUMBER, PRIORITY, PLACER_ORDER_NUMBER, FILLER_ORDER_NUMBER];

const IN_ISSUER: [u32; 3] = [SPECIFIC_CHARACTER_SET, LOCAL_NAMESPACE, UNIVERSAL_ENTITY_ID];

impl Place {
    pub(super) fn wants(self, tag: u32) -> bool {
        match self {
            Place::Top => TOP.contains(&tag) || only_describes(tag),
            Place::RequestAttributes => IN_REQUEST.contains(&tag),
            Place::Specimen(_) => matches!(tag, SPECIFIC_CHARACTER_SET | SPECIMEN_ID),
            Place::AccessionIssuer
            | Place::RequestAccessionIssuer
            | Place::ContainerIssuer
            | Place::SpecimenIssuer(_) => IN_ISSUER.contains(&tag),
        }
    }

    /// Where the elements of item `number`, from 1, of `sequence`, found here, stand.
    pub(super) fn inside(self, sequence: u32, number: u32) -> Option<Place> {
        if (self, sequence) == (Place::Top, SPECIMENS) {
            return u8::try_from(number).ok().filter(|number| *number <= MAX_SPECIMENS).map(Place::Specimen);
        }
        match (self, sequence) {
            _ if number != 1 => None,
            (Place::Top, ISSUER_OF_ACCESSION_NUMBER) => Some(Place::AccessionIssuer),
            (Place::Top, REQUEST_ATTRIBUTES) => Some(Place::RequestAttributes),
            (Place::Top, CONTAINER_ISSUER) => Some(Place::ContainerIssuer),
            (Place::RequestAttributes, ISSUER_OF_ACCESSION_NUMBER) => Some(Place::RequestAccessionIssuer),
            (Place::Specimen(of), SPECIMEN_ISSUER) => Some(Place::SpecimenIssuer(of)),
            _ => None,
        }
    }
}
