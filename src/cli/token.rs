//! `neisse token`: lets callers in over HTTP and shuts them out again. A token is shown once, when it is made.

use crate::{
    config::{self, Config},
    model::{Clock, PartnerId, Token, TokenId},
    store::{Durability, Store, TokenRow},
};
use anyhow::{Context, bail};
use std::{path::PathBuf, process::ExitCode, time::Duration};

#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// Folder with neisse.toml, calendars.toml, routes.toml and partners/.
    #[arg(long, default_value = "config", env = "NEISSE_CONFIG", value_name = "FOLDER", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token for a program of a partner, and show it: it cannot be shown again.
    Create {
        /// Whose program it is: it sees and may do what this partner may.
        #[arg(long)]
        partner: String,
        /// What it is called in logs and lists; stands where DICOM has the calling AE title. 1 to 16 characters.
        #[arg(long, value_parser = name)]
        name: String,
        /// How long it lets in, for example 90d; without it, until it is revoked.
        #[arg(long, value_parser = span)]
        expires: Option<Duration>,
    },
    /// List the tokens: whose they are, until when, and when they were last used.
    List,
    /// Shut a token out, within seconds. Its id is the part between the two underscores.
    Revoke {
        /// As `neisse token list` shows it.
        id: String,
    },
}

/// As an AE title (PS3.5 6.2), so that a rule's `calling_ae` can name it.
fn name(text: &str) -> Result<String, String> {
    let fits = (1..=16).contains(&text.len())
        && text.bytes().all(|b| (b.is_ascii_graphic() || b == b' ') && b != b'\\')
        && text.trim() == text;
    if fits { Ok(text.to_owned()) } else { Err("expected 1 to 16 letters, digits or signs of ASCII, no \\".to_owned()) }
}

fn span(text: &str) -> Result<Duration, String> {
    config::token_lifetime(text)
}

/// Runs the command.
///
/// # Errors
/// When the configuration has problems, the database cannot be opened, or there is no such partner or token.
pub fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    super::use_ring();
    let config = config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        std::fs::create_dir_all(&config.node.data_dir)
            .with_context(|| format!("creating the data folder {}", config.node.data_dir.display()))?;
        let store = Store::open(&config.database, &config.node.data_dir).await.context("opening the database")?;
        let done = match &args.command {
            Command::Create { partner, name, expires } => create(&config, &store, partner, name, *expires).await,
            Command::List => list(&config, &store).await,
            Command::Revoke { id } => revoke(&store, id).await,
        };
        store.close().await;
        done
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn create(
    config: &Config,
    store: &Store,
    partner: &str,
    name: &str,
    expires: Option<Duration>,
) -> anyhow::Result<()> {
    let partner = PartnerId::new(partner)?;
    if !config.partners.contains_key(&partner) {
        bail!("{partner} is not a partner of this configuration");
    }
    let mut random = [0; 40];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut random).map_err(|_| anyhow::anyhow!("this system gives no random numbers"))?;
    let token = Token::new(&random);
    let now = Clock::system().now();
    let row = TokenRow {
        id: token.id().clone(),
        partner,
        name: name.to_owned(),
        sha256: token.sha256(),
        created: now,
        expires: expires.map(|span| now + span),
        revoked: None,
        last_used: None,
    };
    let mut tx = store.begin(Durability::Synced).await?;
    tx.add_token(&row).await?;
    tx.commit().await?;
    println!("{}", token.reveal());
    eprintln!(
        "Keep it now: it is not stored and cannot be shown again. Shut it out with: neisse token revoke {}",
        row.id
    );
    Ok(())
}

async fn list(config: &Config, store: &Store) -> anyhow::Result<()> {
    let tokens = store.tokens().await?;
    if tokens.is_empty() {
        println!("No tokens: nobody is let in over HTTP.");
        return Ok(());
    }
    println!("{:<16}  {:<16}  {:<16}  {:<16}  {:<16}  last used", "token", "partner", "name", "made", "until");
    let now = Clock::system().now();
    for token in tokens {
        let zone = config.partners.get(&token.partner).map_or(chrono_tz::UTC, |partner| partner.time_zone);
        let shown = |at: crate::model::Moment| at.utc().with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string();
        let until = match (token.revoked, token.expires) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(expires)) if expires <= now => "expired".to_owned(),
            (None, Some(expires)) => shown(expires),
            (None, None) => "revoked by hand".to_owned(),
        };
        let used = token.last_used.map_or_else(|| "never".to_owned(), shown);
        println!(
            "{:<16}  {:<16}  {:<16}  {:<16}  {until:<16}  {used}",
            token.id,
            token.partner.as_str(),
            token.name,
            shown(token.created),
        );
    }
    Ok(())
}

async fn revoke(store: &Store, id: &str) -> anyhow::Result<()> {
    let Some(id) = TokenId::parse(id) else {
        bail!("that is not the id of a token: neisse token list shows them, 16 digits");
    };
    let mut tx = store.begin(Durability::Synced).await?;
    let revoked = tx.revoke_token(&id, Clock::system().now()).await?;
    tx.commit().await?;
    if !revoked {
        bail!("there is no token {id}, or it has been revoked before");
    }
    println!("Revoked {id}: a running router shuts it out within seconds.");
    Ok(())
}
