//! How fast an instance becomes durable: the spool beside the two ways it has to beat, on the same disk.
//!
//! In: nothing, or `--rounds N`, `--dir PATH`. Out: instances per second, medians of interleaved rounds, and each
//! round's ratio to the bare loop of the same round. Seconds do not travel between machines; ratios do.
//!
//! - *bare*: `write` + `fdatasync` at the end of one file for each writer. Nothing else: no hash, no header.
//! - *file each*: one file for each instance, synced, and its directory synced.
//! - *spool*: `begin`, `write` in pieces of 32 KiB, `commit`; SHA-256 and header included.
//!
//! Run with `cargo bench --bench journal`.

use bytes::Bytes;
use neisse::{
    model::{Moment, PartnerId, Uid},
    spool::{JournalWriter, RecordMeta, Spool, SpoolSettings},
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Barrier,
    time::{Duration, Instant},
};

const PIECE_BYTES: usize = 32 << 10;
const LOADS: [Load; 2] =
    [Load { name: "36 KB", bytes: 36 << 10, count: 2000 }, Load { name: "526 KB", bytes: 526 << 10, count: 500 }];
const WRITERS: [usize; 2] = [1, 4];
const WAYS: [&str; 3] = ["bare", "file each", "spool"];

#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    bytes: usize,
    count: usize,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().position(|found| found == name).and_then(|at| arguments.get(at + 1));
    let rounds = option("--rounds").map_or(Ok(5), |text| text.parse::<usize>())?;
    let parent = option("--dir").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::tempdir_in(parent)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("| instances | writers | way | instances/s | of bare |\n|---|---|---|---|---|");
    for load in LOADS {
        for writers in WRITERS {
            let mut rates: [Vec<f64>; WAYS.len()] = Default::default();
            for round in 0..rounds {
                // Each way takes its turn at being first.
                for turn in 0..WAYS.len() {
                    let way = (round + turn) % WAYS.len();
                    let place = dir.path().join("round");
                    fs::create_dir(&place)?;
                    // Freed blocks are discarded with the next sync, whoever asks for it: not at the next one's
                    // expense.
                    rustix::fs::syncfs(&File::open(&place)?)?;
                    let took = match way {
                        0 => in_threads(writers, |writer| bare(&place, writer, load))?,
                        1 => in_threads(writers, |writer| file_each(&place, writer, load))?,
                        _ => runtime.block_on(spooled(&place, writers, load))?,
                    };
                    rates[way].push((writers * load.count) as f64 / took.as_secs_f64());
                    fs::remove_dir_all(&place)?;
                }
            }
            for (way, name) in WAYS.iter().enumerate() {
                let ratios = rates[way].iter().zip(&rates[0]).map(|(rate, bare)| rate / bare).collect();
                let (rate, ratio) = (median(rates[way].clone()), median(ratios));
                println!("| {} x {} | {writers} | {name} | {rate:.0} | {ratio:.2} |", load.count, load.name);
            }
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes that do not compress and do not repeat between instances.
fn instance(load: Load, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(load.bytes).collect()
}

fn in_threads<F>(writers: usize, work: F) -> Result<Duration, Failure>
where
    F: Fn(usize) -> Result<(Instant, Instant), Failure> + Sync,
{
    let barrier = Barrier::new(writers);
    let spans = std::thread::scope(|scope| {
        let spawn = |writer| {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(writer)
            })
        };
        let threads: Vec<_> = (0..writers).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a writer panicked")?).collect::<Result<Vec<_>, _>>()
    })?;
    span(&spans)
}

fn span(spans: &[(Instant, Instant)]) -> Result<Duration, Failure> {
    let first = spans.iter().map(|span| span.0).min().ok_or("no writer")?;
    let last = spans.iter().map(|span| span.1).max().ok_or("no writer")?;
    Ok(last - first)
}

fn bare(place: &Path, writer: usize, load: Load) -> Result<(Instant, Instant), Failure> {
    let bytes = instance(load, writer);
    let mut file = File::create_new(place.join(format!("{writer}")))?;
    file.sync_all()?;
    File::open(place)?.sync_all()?;
    let start = Instant::now();
    for _ in 0..load.count {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    Ok((start, Instant::now()))
}

fn file_each(place: &Path, writer: usize, load: Load) -> Result<(Instant, Instant), Failure> {
    let bytes = instance(load, writer);
    let dir = File::open(place)?;
    let start = Instant::now();
    for number in 0..load.count {
        let mut file = File::create_new(place.join(format!("{writer}-{number}")))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        dir.sync_all()?;
    }
    Ok((start, Instant::now()))
}

async fn spooled(place: &Path, writers: usize, load: Load) -> Result<Duration, Failure> {
    let spool = Spool::open(place, SpoolSettings { reserve_bytes: 0 })?;
    let tasks: Vec<_> = (0..writers).map(|writer| tokio::spawn(associate(spool.writer(), writer, load))).collect();
    let mut spans = Vec::new();
    for task in tasks {
        spans.push(task.await??);
    }
    span(&spans)
}

async fn associate(mut journal: JournalWriter, writer: usize, load: Load) -> Result<(Instant, Instant), Failure> {
    let bytes = Bytes::from(instance(load, writer));
    let meta = RecordMeta {
        origin: PartnerId::new("bench")?,
        calling_ae: "BENCH".into(),
        called_ae: "NEISSE".into(),
        sop_class: Uid::new("1.2.840.10008.5.1.4.1.1.2")?,
        sop_instance: Uid::generate(),
        transfer_syntax: Uid::new("1.2.840.10008.1.2.1")?,
        received: Moment(0),
    };
    let start = Instant::now();
    for _ in 0..load.count {
        journal.begin(meta.clone()).await?;
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            journal.write(rest.split_to(PIECE_BYTES.min(rest.len()))).await?;
        }
        journal.commit().await?;
    }
    let end = Instant::now();
    journal.close().await;
    Ok((start, end))
}
