//! `neisse serve`: the router itself, until it is told to stop.
//!
//! SIGTERM and Ctrl-C stop it in order; SIGHUP reads the configuration again without dropping an association.

use crate::{
    config::{self, Config},
    model::Clock,
    startup::{self, Running},
};
use anyhow::Context;
use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Folder with neisse.toml, calendars.toml, routes.toml and partners/.
    #[arg(long, default_value = "config", env = "NEISSE_CONFIG", value_name = "FOLDER")]
    config: PathBuf,
    /// How log lines are written.
    #[arg(long, default_value = "text", value_enum, env = "NEISSE_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or by room (`info,neisse::delivery=debug`).
    #[arg(long, default_value = "info", env = "NEISSE_LOG")]
    log: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line, for a log collector.
    Json,
}

/// Runs until stopped.
///
/// # Errors
/// When the configuration has problems (all are printed), or what the node needs cannot be had.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    start_logging(args)?;
    super::use_ring();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args, config))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: &ServeArgs, config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let version = config.rules_version.clone();
    let running = startup::start(config, Clock::system()).await?;
    tracing::info!(dicom = %running.dicom, hl7 = %running.hl7, http = %running.http, rules.version = %version, "Ready: DICOM {}, HL7 {}, HTTP {}", running.dicom, running.hl7, running.http);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => reload(args, &running),
        }
    }
    tracing::info!("Stopping: open associations are finished, nothing new is taken");
    running.stop().await;
    tracing::info!("Stopped");
    Ok(())
}

fn reload(args: &ServeArgs, running: &Running) {
    match config::load(&args.config) {
        Ok(config) => running.replace(config),
        Err(problems) => tracing::error!("The configuration has problems and the one in force stays:\n{problems}"),
    }
}

fn start_logging(args: &ServeArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("--log {:?}: expected error, warn, info, debug or room=level", args.log))?;
    // Colours are for a terminal; in a file or the journal they hide the words from a search.
    let coloured = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(coloured).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
