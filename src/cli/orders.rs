//! `neisse orders`: what hospitals have ordered, and what has become of it. For `neisse cases link`.

use crate::{
    config::{self, Config},
    model::PartnerId,
    store::{OrderFilter, OrderSummary, Store},
};
use anyhow::{Context, bail};
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, clap::Args)]
pub struct OrdersArgs {
    /// Folder with neisse.toml, calendars.toml, routes.toml and partners/.
    #[arg(long, default_value = "config", env = "NEISSE_CONFIG", value_name = "FOLDER", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the newest orders.
    List {
        /// Only those no study or case has been joined to.
        #[arg(long)]
        unjoined: bool,
        /// Only orders of this partner.
        #[arg(long)]
        partner: Option<String>,
        /// How many, newest first.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
}

/// Runs the command.
///
/// # Errors
/// When the configuration has problems, or the database cannot be opened.
pub fn run(args: &OrdersArgs) -> anyhow::Result<ExitCode> {
    super::use_ring();
    let config = config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Command::List { unjoined, partner, limit } = &args.command;
    runtime.block_on(async {
        let store = Store::open(&config.database, &config.node.data_dir)
            .await
            .context("opening the database: has the router run with this configuration?")?;
        let origin = partner.as_deref().map(PartnerId::new).transpose()?;
        let listed = list(&config, &store, &OrderFilter { origin, unjoined: *unjoined, limit: *limit }).await;
        store.close().await;
        listed
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(config: &Config, store: &Store, filter: &OrderFilter) -> anyhow::Result<()> {
    if let Some(unknown) = filter.origin.as_ref().filter(|origin| !config.partners.contains_key(origin)) {
        bail!("{unknown} is not a partner of this configuration");
    }
    let orders = store.list_orders(filter).await?;
    if orders.is_empty() {
        println!("No orders{}.", if filter.unjoined { " wait for their study" } else { "" });
        return Ok(());
    }
    println!(
        "{:<36}  {:<16}  {:<12}  {:<10}  {:<4}  {:<8}  {:<12}  cases",
        "order", "received", "from", "discipline", "mod", "priority", "state"
    );
    for order in &orders {
        println!("{}", line(config, order));
    }
    Ok(())
}

/// Times are shown in the zone of the hospital.
fn line(config: &Config, order: &OrderSummary) -> String {
    let zone = config.partners.get(&order.origin).map_or(chrono_tz::UTC, |partner| partner.time_zone);
    format!(
        "{}  {}  {:<12}  {:<10}  {:<4}  {:<8}  {:<12}  {}",
        order.id,
        order.received.utc().with_timezone(&zone).format("%Y-%m-%d %H:%M"),
        order.origin.as_str(),
        order.discipline,
        order.modality,
        order.priority,
        order.state.to_string(),
        order.cases
    )
}
