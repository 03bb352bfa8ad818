//! `neisse notify --test`: tells the operator that nothing waits, by the webhook and the mail server of the configuration,
//! so that an administrator sees whether it arrives. Touches no database, and needs no running router.

use crate::{
    config,
    escalation::{Way, try_out},
    store::NoticeChannel,
};
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, clap::Args)]
pub struct NotifyArgs {
    /// Folder with neisse.toml, calendars.toml, routes.toml and partners/.
    #[arg(long, default_value = "config", env = "NEISSE_CONFIG", value_name = "FOLDER")]
    config: PathBuf,
    /// Send a notice that says it is a test.
    #[arg(long, required = true)]
    test: bool,
}

/// Exit status 0: everything configured has taken it.
///
/// # Errors
/// When the configuration has problems.
pub fn run(args: &NotifyArgs) -> anyhow::Result<ExitCode> {
    super::use_ring();
    let config = config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ways = [NoticeChannel::Webhook, NoticeChannel::Mail]
        .into_iter()
        .filter_map(|channel| Some((channel, Way::of(&config, channel)?)));
    let (mut tried, mut failed) = (0, 0);
    for (channel, way) in ways {
        tried += 1;
        match runtime.block_on(try_out(&config, &way)) {
            Ok(()) => println!("{}: taken. Look whether it has arrived.", channel.as_str()),
            Err(why) => {
                failed += 1;
                println!("{}: not taken: {why}", channel.as_str());
            }
        }
    }
    if tried == 0 {
        println!("Neither webhook nor mail is set in [escalation] of neisse.toml: the log and the metrics alone tell.");
    }
    Ok(if tried == 0 || failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
