//! `neisse cases`: look at cases and act on them. Works beside a running router, on the same database; the router
//! sees what was done within two seconds.

mod act;
mod critical;
mod held;
mod link;
mod list;
mod show;

use crate::{
    config::{self, Config},
    model::{CaseId, CaseState, Moment, OrderId, PartnerId, ReportId},
    store::Store,
};
use anyhow::{Context, bail};
use std::{path::PathBuf, process::ExitCode, sync::Arc};

#[derive(Debug, clap::Args)]
pub struct CasesArgs {
    /// Folder with neisse.toml, calendars.toml, routes.toml and partners/.
    #[arg(long, default_value = "config", env = "NEISSE_CONFIG", value_name = "FOLDER", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the newest cases, and reports that fit none.
    List {
        /// Only what waits for a person: held cases, stopped deliveries, conflicts, held reports.
        #[arg(long)]
        attention: bool,
        /// Only cases in this state: new, held, routed, delivered, preliminary, reported.
        #[arg(long, value_parser = state)]
        state: Option<CaseState>,
        /// Only cases this partner sent or reads.
        #[arg(long)]
        partner: Option<String>,
        /// How many, newest first.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
    /// Show a case's whole story: what came, who reads it and why, every delivery, every report.
    Show {
        /// The case's id, as `neisse cases list` shows it.
        #[arg(value_parser = case_id)]
        case: CaseId,
        /// Also show who the patient is. Left out otherwise, so that a screen can be shared.
        #[arg(long)]
        patient: bool,
    },
    /// Hold a case: nothing more of it leaves until it is released.
    Hold {
        /// The case's id, as `neisse cases list` shows it.
        #[arg(value_parser = case_id)]
        case: CaseId,
        /// Why, for whoever reads the story later. No patient data.
        #[arg(long)]
        why: String,
    },
    /// Release a held case to the reader the rules name now, or to the one given.
    Release {
        /// The case's id, as `neisse cases list` shows it.
        #[arg(value_parser = case_id)]
        case: CaseId,
        /// Who reads it, whatever the rules say: a partner's id, or `origin`.
        #[arg(long)]
        to: Option<String>,
    },
    /// Take a case off the list of what waits for a person: someone has looked.
    Seen {
        /// The case's id, as `neisse cases list` shows it.
        #[arg(value_parser = case_id)]
        case: CaseId,
        /// What was found or done, for whoever reads the story later. No patient data.
        #[arg(long)]
        why: String,
    },
    /// Send again what ended in front of a person.
    Resend {
        /// The case's id, as `neisse cases list` shows it.
        #[arg(value_parser = case_id)]
        case: CaseId,
        /// Also what had arrived.
        #[arg(long)]
        all: bool,
    },
    /// Note that somebody at the origin has a critical result: told by telephone, or seen there.
    Acknowledge {
        /// The case's id, as `neisse cases list` shows it.
        #[arg(value_parser = case_id)]
        case: CaseId,
        /// Who has it, for whoever reads the story later. No patient data.
        #[arg(long)]
        by: String,
    },
    /// Join a held report to the case it belongs to; its origin gets it as if it had fitted by itself.
    Attach {
        /// The report's id, as `neisse cases list` shows it.
        #[arg(value_parser = report_id)]
        report: ReportId,
        /// The case's id, as `neisse cases list` shows it.
        #[arg(value_parser = case_id)]
        case: CaseId,
        /// How it is known whose report it is, for whoever reads the story later. No patient data.
        #[arg(long)]
        why: String,
    },
    /// Join a case to the order it belongs to: an order number was mistyped, or none was sent.
    Link {
        /// The case's id, as `neisse cases list` shows it.
        #[arg(value_parser = case_id)]
        case: CaseId,
        /// The order's id, as `neisse orders list` shows it.
        #[arg(value_parser = order_id)]
        order: OrderId,
        /// How it is known, for whoever reads the story later. No patient data.
        #[arg(long)]
        why: String,
    },
    /// Part a case and an order that do not belong together. Readers are sent a cancellation.
    Unlink {
        /// The case's id, as `neisse cases list` shows it.
        #[arg(value_parser = case_id)]
        case: CaseId,
        /// The order's id, as `neisse cases show` shows it.
        #[arg(value_parser = order_id)]
        order: OrderId,
        /// How it is known, for whoever reads the story later. No patient data.
        #[arg(long)]
        why: String,
    },
    /// Take a held report off the list: it came again, or is nobody's here. It is kept. Or what a partner's own system was not told
    /// of, a scanner's step or a study that is available, where it has been told otherwise.
    Dismiss {
        /// The report's id, as `neisse cases list` shows it; or that of the performed step or the availability in the notice.
        #[arg(value_parser = report_id)]
        report: ReportId,
        /// What was found or done, for whoever asks later. No patient data.
        #[arg(long)]
        why: String,
    },
}

fn case_id(text: &str) -> Result<CaseId, String> {
    text.parse().map_err(|_| "expected a case's id as `neisse cases list` shows it, all 36 characters".to_owned())
}

fn report_id(text: &str) -> Result<ReportId, String> {
    text.parse().map_err(|_| "expected a report's id as `neisse cases list` shows it, all 36 characters".to_owned())
}

pub(super) fn order_id(text: &str) -> Result<OrderId, String> {
    text.parse().map_err(|_| "expected an order's id as `neisse orders list` shows it, all 36 characters".to_owned())
}

fn state(word: &str) -> Result<CaseState, String> {
    let known = CaseState::ALL.map(CaseState::as_str).join(", ");
    CaseState::parse(word).ok_or_else(|| format!("expected one of {known}"))
}

/// What every command works on.
struct Desk {
    config: Arc<Config>,
    store: Store,
}

/// Runs the command.
///
/// # Errors
/// When the configuration has problems, the database cannot be opened, or the case does not allow it.
pub fn run(args: &CasesArgs) -> anyhow::Result<ExitCode> {
    super::use_ring();
    let config = config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&config.database, &config.node.data_dir)
            .await
            .context("opening the database: has the router run with this configuration?")?;
        let desk = Desk { config: Arc::new(config), store };
        let done = desk.run(&args.command).await;
        desk.store.close().await;
        done
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Desk {
    async fn run(&self, command: &Command) -> anyhow::Result<()> {
        match command {
            Command::List { attention, state, partner, limit } => {
                let partner = partner.as_deref().map(|name| self.partner(name)).transpose()?;
                self.list(*attention, *state, partner, *limit).await
            }
            Command::Show { case, patient } => self.show(*case, *patient).await,
            Command::Hold { case, why } => self.hold(*case, why).await,
            Command::Release { case, to } => self.release(*case, to.as_deref()).await,
            Command::Seen { case, why } => self.seen(*case, why).await,
            Command::Resend { case, all } => self.resend(*case, *all).await,
            Command::Acknowledge { case, by } => self.acknowledge(*case, by).await,
            Command::Attach { report, case, why } => self.attach(*report, *case, why).await,
            Command::Link { case, order, why } => self.link(*case, *order, why).await,
            Command::Unlink { case, order, why } => self.unlink(*case, *order, why).await,
            Command::Dismiss { report, why } => self.dismiss(*report, why).await,
        }
    }

    /// A partner of this configuration.
    fn partner(&self, name: &str) -> anyhow::Result<PartnerId> {
        let id = PartnerId::new(name)?;
        if !self.config.partners.contains_key(&id) {
            let known: Vec<&str> = self.config.partners.keys().map(PartnerId::as_str).collect();
            bail!("{id} is not a partner; expected one of {}", known.join(", "));
        }
        Ok(id)
    }
}

/// The machine's clock: a person acts now.
fn now() -> Moment {
    Moment::from_utc(chrono::Utc::now())
}

/// `34 KB`, `12.6 MB`: for people.
fn size(bytes: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal of a size for people")]
    let bytes = bytes as f64;
    if bytes < 1e6 { format!("{:.0} KB", (bytes / 1e3).ceil()) } else { format!("{:.1} MB", bytes / 1e6) }
}

/// `1 delivery`, `2 deliveries`.
fn counted(count: impl TryInto<u64>, one: &str, several: &str) -> String {
    let count = count.try_into().unwrap_or(0);
    format!("{count} {}", if count == 1 { one } else { several })
}
