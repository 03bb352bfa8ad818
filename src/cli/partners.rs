//! `neisse partners`: what has left for a partner. For whoever answers for the data of patients.
//!
//! Works beside a running router, on the same database. Days are those of the partner; no patient is named.

use crate::{
    config::{self, Config},
    model::{Moment, PartnerId},
    store::{DISCLOSURES_PAGE, Disclosed, Disclosure, DisclosureSearch, Store},
};
use anyhow::{Context, bail};
use chrono::{Days, NaiveDate, NaiveTime, TimeZone};
use chrono_tz::Tz;
use std::{path::PathBuf, process::ExitCode, time::Duration};

#[derive(Debug, clap::Args)]
pub struct PartnersArgs {
    /// Folder with neisse.toml, calendars.toml, routes.toml and partners/.
    #[arg(long, default_value = "config", env = "NEISSE_CONFIG", value_name = "FOLDER", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List what has left for a partner: images, orders, reports, tasks offered, and what it fetched by itself; when, of which
    /// case, whose, and by which rule.
    Disclosed {
        /// The partner's id: the name of its file. One that is no partner any more may be named, too.
        partner: String,
        /// The first day, such as 2026-11-01.
        #[arg(long, value_name = "DAY")]
        from: NaiveDate,
        /// The last day.
        #[arg(long, value_name = "DAY")]
        to: NaiveDate,
    },
}

/// Runs the command.
///
/// # Errors
/// When the configuration has problems, or the database cannot be read.
pub fn run(args: &PartnersArgs) -> anyhow::Result<ExitCode> {
    super::use_ring();
    let config = config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Command::Disclosed { partner, from, to } = &args.command;
    let partner = PartnerId::new(partner)?;
    if to < from {
        bail!("--to {to} is before --from {from}");
    }
    runtime.block_on(async {
        let store = Store::open(&config.database, &config.node.data_dir)
            .await
            .context("opening the database: has the router run with this configuration?")?;
        let listed = disclosed(&config, &store, partner, *from, *to).await;
        store.close().await;
        listed
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn disclosed(
    config: &Config,
    store: &Store,
    partner: PartnerId,
    from: NaiveDate,
    to: NaiveDate,
) -> anyhow::Result<()> {
    let zone = config.partners.get(&partner).map_or(chrono_tz::UTC, |partner| partner.time_zone);
    let until = begins(zone, to.checked_add_days(Days::new(1)).unwrap_or(to));
    let search = DisclosureSearch { partner, from: begins(zone, from), until };
    let partner = &search.partner;
    println!("What left for {partner} from {from} to {to} (times in {zone})");
    let mut lines = Lines { zone, open: None, printed: 0 };
    let mut after = None;
    loop {
        let page = store.disclosures(&search, after.as_ref()).await?;
        let is_last = page.len() < DISCLOSURES_PAGE;
        after = page.last().map(Disclosure::place);
        for disclosure in page {
            lines.take(disclosure);
        }
        if is_last {
            break;
        }
    }
    lines.end();
    if lines.printed == 0 {
        println!("Nothing.");
        if !config.partners.contains_key(partner) {
            let known: Vec<&str> = config.partners.keys().map(PartnerId::as_str).collect();
            bail!("{partner} is not a partner; expected one of {}", known.join(", "));
        }
    }
    Ok(())
}

/// The first instant of a day: a clock that is put forward at midnight begins it later.
fn begins(zone: Tz, day: NaiveDate) -> Moment {
    let midnight = day.and_time(NaiveTime::MIN);
    let found =
        (0..24).find_map(|hours| zone.from_local_datetime(&(midnight + chrono::Duration::hours(hours))).earliest());
    found.map_or(Moment::from_utc(midnight.and_utc()), |begins| Moment::from_utc(begins.to_utc()))
}

/// Prints as it is read. Batches of one study that follow each other are one line.
struct Lines {
    zone: Tz,
    open: Option<Disclosure>,
    printed: usize,
}

/// Batches that are further apart are lines of their own.
const TOGETHER: Duration = Duration::from_secs(600);

impl Lines {
    fn take(&mut self, next: Disclosure) {
        if let Some(open) = &mut self.open
            && joined(open, &next)
        {
            return;
        }
        self.end();
        self.open = Some(next);
    }

    fn end(&mut self) {
        let Some(disclosure) = self.open.take() else { return };
        if self.printed == 0 {
            println!("{:<16}  {:<36}  {:<36}  {:<12}  rule", "time", "what", "case", "of");
        }
        self.printed += 1;
        let at = disclosure.at.utc().with_timezone(&self.zone).format("%Y-%m-%d %H:%M");
        let rule = if disclosure.rule.is_empty() { "-" } else { &disclosure.rule };
        println!("{at}  {:<36}  {}  {:<12}  {rule}", words(&disclosure), disclosure.case, disclosure.origin.as_str());
    }
}

/// Adds images to those of the line before, where they are of the same case and fared alike.
fn joined(open: &mut Disclosure, next: &Disclosure) -> bool {
    let is_alike = open.case == next.case && open.arrived == next.arrived && next.at.since(open.at) < TOGETHER;
    let (Disclosed::Images { images, of }, Disclosed::Images { images: more, of: of_more }) =
        (&mut open.what, &next.what)
    else {
        return false;
    };
    if is_alike {
        *images += more;
        *of += of_more;
    }
    is_alike
}

fn words(disclosure: &Disclosure) -> String {
    let images = |count: i64| if count == 1 { "1 image".to_owned() } else { format!("{count} images") };
    let what = match &disclosure.what {
        Disclosed::Images { images: sent, of } if sent == of => images(*sent),
        Disclosed::Images { images: sent, of } => format!("{sent} of {}", images(*of)),
        Disclosed::Message(what) => format!("message {what}"),
        Disclosed::Report { kind, version } => format!("{kind} version {version}"),
        Disclosed::Task => "task offered".to_owned(),
        Disclosed::Retrieved { by, images: asked } => format!("{} fetched by {by}", images(*asked)),
    };
    if disclosure.arrived { what } else { format!("{what}, not confirmed") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::{America::Sao_Paulo, Europe::Berlin};

    #[test]
    fn a_day_begins_on_the_partner_s_clock() {
        let day = |text: &str| text.parse::<NaiveDate>().expect("a day");
        let at = |zone, text| begins(zone, day(text)).to_string();
        assert_eq!(at(Berlin, "2026-11-01"), "2026-10-31T23:00:00.000Z");
        assert_eq!(at(Berlin, "2026-07-01"), "2026-06-30T22:00:00.000Z");
        // The clock went from 00:00 to 01:00.
        assert_eq!(at(Sao_Paulo, "2018-11-04"), "2018-11-04T03:00:00.000Z");
    }
}
