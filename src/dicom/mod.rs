//! DICOM on the wire: associations in (`scp`) and out (`scu`), the PDV reader, DIMSE command sets, statuses, the header
//! scanner, character sets, other identifiers in a header (`rewrite`), and building of SR and Encapsulated PDF objects
//! (`documents`), messages' data sets (`dataset`), parts of an instance and how they are written in JSON (`instance`), what
//! else a peer may ask (`service`) with the matching of its keys (`matching`), and workitems on the wire (`ups`).
//!
//! Knows no case, no partner's rules, no SQL. `startup` gives it its handler. Nothing that came from the network reaches
//! dicom-object before [`scan`] has passed it.

pub mod acceptor;
pub mod charset;
pub mod dataset;
pub mod dimse;
pub mod documents;
pub mod instance;
pub mod matching;
pub mod pdv;
pub mod rewrite;
pub mod scan;
pub mod scp;
pub mod scu;
pub mod service;
pub mod status;
mod tree;
pub mod ups;
