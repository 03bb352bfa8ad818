//! `neisse specimen`: what happens to specimens, told by people; shipments and their printed lists; what is late. Works
//! beside a running router, on the same database; the router tells the other side within two seconds.

mod act;
mod list;
mod ship;
mod show;

use crate::{
    config::{self, Config},
    model::{IssuedId, Moment, PartnerId, SpecimenEvent},
    store::{SpecimenRow, Store},
};
use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDateTime, TimeZone, Utc};
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

/// Who acts, in stories.
const ACTOR: &str = "operator";

#[derive(Debug, clap::Args)]
pub struct SpecimenArgs {
    /// Folder with neisse.toml, calendars.toml, routes.toml and partners/.
    #[arg(long, default_value = "config", env = "NEISSE_CONFIG", value_name = "FOLDER", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List specimens, those with the newest events first.
    List {
        /// Only those of this partner.
        #[arg(long)]
        partner: Option<String>,
        /// Only what waits for a person: late, lost, rejected, without order, orders without specimen.
        #[arg(long)]
        late: bool,
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
    /// Show a specimen: what it is, what it was taken from, and its whole story.
    Show {
        #[command(flatten)]
        one: One,
    },
    /// Somebody took these specimens.
    Collected(EventArgs),
    /// These specimens have left for the laboratory. With a list to print: `ship`.
    Shipped(EventArgs),
    /// These specimens are in the laboratory.
    Received(EventArgs),
    /// The laboratory works on these specimens.
    Accepted(EventArgs),
    /// The laboratory will not work on these specimens. Needs --reason.
    Rejected(EventArgs),
    /// These specimens have left and cannot be found.
    Lost(EventArgs),
    /// Ship specimens: one shipment, its list as PDF, and a person told when one does not arrive in time.
    Ship(ship::ShipArgs),
    /// Print the list of a shipment again.
    Print(ship::PrintArgs),
    /// Take a specimen, or an order without specimen, off the list of what waits for a person: someone has looked.
    Seen {
        /// A specimen's number or id, or an order's id, as `neisse specimen list --late` shows it.
        id: String,
        /// What was found or done, for whoever reads the story later. No patient data.
        #[arg(long)]
        why: String,
        /// Whose specimen it is, where several have the same number.
        #[arg(long)]
        partner: Option<String>,
    },
}

/// One specimen.
#[derive(Debug, clap::Args)]
struct One {
    /// Its number, as its label says it, or its id here (36 characters).
    id: String,
    /// Whose it is, where several have the same number.
    #[arg(long)]
    partner: Option<String>,
}

#[derive(Debug, clap::Args)]
struct EventArgs {
    /// Numbers, as the labels of specimens or containers say them, or ids here. May be left out with --shipment: all of it.
    ids: Vec<String>,
    /// Who it was. No patient data.
    #[arg(long)]
    by: String,
    /// Why: a code of HL7 table 0490 (RB broken container, RI identification problem, RM labeling, …) or words.
    #[arg(long)]
    reason: Option<String>,
    /// When it happened: YYYY-MM-DDTHH:MM by the clock of whoever's specimen it is, or with an offset. Now, if left out.
    #[arg(long)]
    at: Option<String>,
    /// The shipment they came with, as its list says it (RABENSTEIN-000017).
    #[arg(long)]
    shipment: Option<String>,
    /// Whose specimens they are, where several have the same number; and who has one that nobody has ordered.
    #[arg(long)]
    partner: Option<String>,
}

/// What every command works on.
struct Desk {
    config: Arc<Config>,
    store: Store,
}

/// Runs the command.
///
/// # Errors
/// When the configuration has problems, the database cannot be opened, or what is told contradicts what is known.
pub fn run(args: &SpecimenArgs) -> anyhow::Result<ExitCode> {
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
            Command::List { partner, late, limit } => {
                let partner = self.partner(partner.as_deref())?;
                if *late { self.late(partner, *limit).await } else { self.list(partner, *limit).await }
            }
            Command::Show { one } => self.show(one).await,
            Command::Collected(args) => self.tell(SpecimenEvent::Collected, args).await,
            Command::Shipped(args) => self.tell(SpecimenEvent::Shipped, args).await,
            Command::Received(args) => self.tell(SpecimenEvent::Received, args).await,
            Command::Accepted(args) => self.tell(SpecimenEvent::Accepted, args).await,
            Command::Rejected(args) => self.tell(SpecimenEvent::Rejected, args).await,
            Command::Lost(args) => self.tell(SpecimenEvent::Lost, args).await,
            Command::Ship(args) => self.ship(args).await,
            Command::Print(args) => self.print(args).await,
            Command::Seen { id, why, partner } => self.seen(id, why, partner.as_deref()).await,
        }
    }

    /// A partner of this configuration.
    fn partner(&self, name: Option<&str>) -> anyhow::Result<Option<PartnerId>> {
        let Some(name) = name else { return Ok(None) };
        let id = PartnerId::new(name)?;
        if !self.config.partners.contains_key(&id) {
            let known: Vec<&str> = self.config.partners.keys().map(PartnerId::as_str).collect();
            bail!("{id} is not a partner; expected one of {}", known.join(", "));
        }
        Ok(Some(id))
    }

    /// The specimens a label names: one by its own number, all of one partner by that of their container. Empty: unknown.
    async fn find(&self, id: &str, partner: Option<&PartnerId>) -> anyhow::Result<Vec<SpecimenRow>> {
        if let Ok(id) = id.parse() {
            return Ok(vec![self.store.specimen(id).await?]);
        }
        let mut found = self.store.specimens_with(id).await?;
        found.retain(|specimen| partner.is_none_or(|partner| specimen.origin == *partner));
        if found.iter().any(|specimen| specimen.ordered) {
            found.retain(|specimen| specimen.ordered);
        }
        let of_one = found.windows(2).all(|two| two[0].origin == two[1].origin);
        let by_container = found.iter().all(|specimen| !is_own(specimen, id));
        if found.len() > 1 && !(of_one && by_container) {
            let ids: Vec<String> = found.iter().map(|s| format!("{} of {}", s.id, s.origin)).collect();
            bail!("several specimens go by {id}: say which ({}), or whose with --partner", ids.join(", "));
        }
        Ok(found)
    }

    async fn find_one(&self, one: &One) -> anyhow::Result<SpecimenRow> {
        let partner = self.partner(one.partner.as_deref())?;
        let found = self.find(&one.id, partner.as_ref()).await?;
        match <[SpecimenRow; 1]>::try_from(found) {
            Ok([specimen]) => Ok(specimen),
            Err(found) if found.is_empty() => bail!("no specimen goes by {}", one.id),
            Err(found) => {
                let ids: Vec<String> = found.iter().map(|specimen| specimen.id.to_string()).collect();
                bail!("{} is a container with several specimens: name one of {}", one.id, ids.join(", "))
            }
        }
    }

    fn zone(&self, partner: &PartnerId) -> chrono_tz::Tz {
        self.config.partners.get(partner).map_or(chrono_tz::UTC, |partner| partner.time_zone)
    }

    fn minute(&self, partner: &PartnerId, at: Moment) -> String {
        at.utc().with_timezone(&self.zone(partner)).format("%Y-%m-%d %H:%M").to_string()
    }

    /// `YYYY-MM-DDTHH:MM` by the partner's clock, or a time with its offset.
    fn moment(&self, text: Option<&str>, partner: &PartnerId) -> anyhow::Result<Moment> {
        let Some(text) = text else { return Ok(now()) };
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Moment::from_utc(at.to_utc()));
        }
        let parsed = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
        let at = parsed.and_then(|local| self.zone(partner).from_local_datetime(&local).earliest());
        let at = at.with_context(|| format!("{text}: expected a time such as 2026-11-24T08:15"))?;
        if at.to_utc() > Utc::now() + Duration::from_secs(300) {
            bail!("{text} has not come yet: what has happened is told here");
        }
        Ok(Moment::from_utc(at.to_utc()))
    }
}

/// The label is the specimen's own, not its container's.
fn is_own(specimen: &SpecimenRow, number: &str) -> bool {
    [&specimen.said.placer, &specimen.said.filler].iter().any(|id| id.value == number)
}

/// `S-1 (RABENSTEIN)`; of a specimen without any number, its container's.
fn number(specimen: &SpecimenRow) -> String {
    specimen.said.id().map(issued).unwrap_or_default()
}

fn issued(id: &IssuedId) -> String {
    if id.issuer.is_empty() { id.value.clone() } else { format!("{} ({})", id.value, id.issuer) }
}

fn now() -> Moment {
    Moment::from_utc(Utc::now())
}
