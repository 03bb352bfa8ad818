//! `neisse demo`: the main job in one command. A simulated hospital sends a head CT over C-STORE, the router decides by
//! tonight's rule and hands it over, a simulated center receives it and reports by ORU^R01, and the hospital's MLLP
//! listener gets the report back. Everything on loopback ports picked free, in a folder that is removed at the end.
//!
//! Only the two ends are simulated; between them runs the router as `neisse serve` runs it, on its embedded defaults.

mod center;
mod hospital;
mod story;

use crate::{
    cli::sample::{self, SampleCase, SampleInstance},
    config::{self, Config},
    model::{Clock, Moment, PartnerId},
    startup::{self, Running},
};
use anyhow::{Context, bail};
use chrono::{NaiveTime, TimeZone, Utc};
use chrono_tz::Europe::Berlin;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{collections::BTreeMap, path::Path, process::ExitCode, time::Duration};
use tokio::net::TcpListener;

/// The whole loop takes a second or two; by then something is wrong.
const WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Exit when the report is back, instead of leaving the router running until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Slices of the head CT, 1 to 2000.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u16).range(1..=2000))]
    slices: u16,
}

/// Runs the demonstration.
///
/// # Errors
/// When a step did not come about; the message says which.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    super::use_ring();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(demonstrate(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn demonstrate(args: &DemoArgs) -> anyhow::Result<()> {
    let folder = Scratch::new()?;
    let center_dicom = TcpListener::bind("127.0.0.1:0").await?;
    let hospital_hl7 = TcpListener::bind("127.0.0.1:0").await?;
    let config = configuration(&folder.0, center_dicom.local_addr()?.port(), hospital_hl7.local_addr()?.port())?;
    let tonight = tonight();
    let running = startup::start(config, Clock::starting_at(tonight)).await?;
    println!("Neisse demo. It is {} in Chemnitz for the router; all patients are synthetic.\n", story::wall(tonight));

    let bars = MultiProgress::new();
    let center = center::start(
        center_dicom,
        running.hl7,
        usize::from(args.slices),
        bar(&bars, "chemnitz receives", args.slices),
    );
    let mut reports = hospital::listen(hospital_hl7);
    let case = patient();
    let instances: Vec<SampleInstance> = sample::head_ct(usize::from(args.slices), 256, &case).collect();
    hospital::send(running.dicom, &instances, &bar(&bars, "rabenstein sends", args.slices)).await?;
    let waiting = spinner(&bars, "the report comes back");
    let report = tokio::time::timeout(WITHIN, reports.recv()).await;
    let Ok(Some(report)) = report else {
        bail!("no report came back within {WITHIN:?}; run with --once again, or look at `neisse demo --help`")
    };
    waiting.finish_with_message("the report is back with rabenstein");
    center.await.context("the simulated center stopped")??;
    bars.clear()?;

    let origin = PartnerId::new("rabenstein")?;
    story::print(&running, &origin, &case.study(), &report).await?;
    stay(args, running).await
}

async fn stay(args: &DemoArgs, running: Running) -> anyhow::Result<()> {
    if !args.once {
        println!("\nThe router is still running: http://{}/healthz  http://{}/metrics", running.http, running.http);
        println!("Ctrl-C ends it. To run your own: neisse check --config config, then neisse serve --config config.");
        tokio::signal::ctrl_c().await?;
    }
    running.stop().await;
    Ok(())
}

/// 23:10 of today in Saxony: the night rule is in force whenever the demo is run.
fn tonight() -> Moment {
    let today = Utc::now().with_timezone(&Berlin).date_naive();
    let at = today.and_time(NaiveTime::from_hms_opt(23, 10, 0).unwrap_or_default());
    // 23:10 exists on every day of the zone; if it did not, now would do.
    Berlin.from_local_datetime(&at).earliest().map_or(Moment::from_utc(Utc::now()), |at| Moment::from_utc(at.to_utc()))
}

fn patient() -> SampleCase {
    SampleCase {
        patient_name: "Müßig^Jörg".into(),
        sex: "M".into(),
        description: "CT Schädel nativ".into(),
        ..SampleCase::numbered(1)
    }
}

fn configuration(folder: &Path, center_dicom: u16, hospital_hl7: u16) -> anyhow::Result<Config> {
    let files = [
        ("neisse.toml", include_str!("neisse.toml").to_owned()),
        ("calendars.toml", include_str!("calendars.toml").to_owned()),
        ("routes.toml", include_str!("routes.toml").to_owned()),
        ("partners/rabenstein.toml", include_str!("rabenstein.toml").replace("@HL7@", &hospital_hl7.to_string())),
        ("partners/chemnitz.toml", include_str!("chemnitz.toml").replace("@DICOM@", &center_dicom.to_string())),
    ];
    let files: BTreeMap<String, String> = files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    Ok(config::load_from(folder, &files, &|_| None)?)
}

fn bar(bars: &MultiProgress, what: &'static str, total: u16) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(u64::from(total)));
    if let Ok(style) = ProgressStyle::with_template("{msg:20} {bar:40} {pos}/{len} slices  {elapsed_precise}") {
        bar.set_style(style);
    }
    bar.with_message(what)
}

fn spinner(bars: &MultiProgress, what: &'static str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar.with_message(what)
}

/// A folder of its own, removed when the demo ends however it ends.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("neisse-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's cleaning of its temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
