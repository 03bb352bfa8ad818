//! The command line: one module a command, each with its arguments and a `run`.
//!
//! Written for a hospital's imaging administrator at night: every error says what to do next, every command that takes
//! long shows that it works. Exit codes: 0 well, 1 something is wrong and was said, 2 the command line was not understood; of `check`
//! 2 also where a configuration would start and has gaps.

pub mod cases;
pub mod check;
pub mod demo;
pub mod notify;
pub mod orders;
pub mod partners;
pub mod route;
pub mod sample;
pub mod serve;
pub mod specimen;
pub mod token;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Open router for radiology and pathology orders, images and reports between hospitals and the people who read them.
#[derive(Debug, Parser)]
#[command(name = "neisse", version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the router.
    Serve(serve::ServeArgs),
    /// See the whole job on this machine: a simulated hospital, the router, a simulated center, and the report back.
    Demo(demo::DemoArgs),
    /// Check a configuration folder, and whether every case has a reader at every minute of the year.
    Check(check::CheckArgs),
    /// Explain who would read a case, rule by rule.
    Route(route::RouteArgs),
    /// Try out whether the operator can be told that something waits.
    Notify(notify::NotifyArgs),
    /// Look at cases and act on them: list, show, hold, release, seen, resend, acknowledge, attach, dismiss, link, unlink.
    Cases(cases::CasesArgs),
    /// Look at orders: what hospitals have asked for, and which of it waits for its study.
    Orders(orders::OrdersArgs),
    /// Look at partners: what has left for one of them.
    Partners(partners::PartnersArgs),
    /// Tell what happens to specimens, ship them with a printed list, and see what is late.
    Specimen(specimen::SpecimenArgs),
    /// Let programs of partners in over HTTP, and shut them out again: create, list, revoke.
    Token(token::TokenArgs),
    /// Write small synthetic studies to try things with.
    Sample(sample::SampleArgs),
}

/// Runs the command and says on standard error what went wrong.
pub fn run(arguments: Arguments) -> ExitCode {
    end_quietly_when_nobody_reads();
    let result = match arguments.command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Route(args) => route::run(&args),
        Command::Notify(args) => notify::run(&args),
        Command::Cases(args) => cases::run(&args),
        Command::Orders(args) => orders::run(&args),
        Command::Partners(args) => partners::run(&args),
        Command::Specimen(args) => specimen::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Sample(args) => sample::run(&args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("neisse: {error:#}");
        ExitCode::FAILURE
    })
}

/// One TLS provider for the whole process.
pub(crate) fn use_ring() {
    // An error only says that it has been installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// `neisse cases list | head` closes our output early: that is no fault worth a panic's message.
fn end_quietly_when_nobody_reads() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to std") && message.contains("Broken pipe") {
            std::process::exit(0);
        }
        otherwise(panic);
    }));
}
