//! How much CPU an object costs and how large it is, beside `gzip -9` and zlib
//! in one shot, on WAL of a real PostgreSQL server (`benches/corpus.sh`).
//!
//! First the table of docs/BENCHMARKS.md: every row's encoder takes its turn on
//! each class, again and again, and the medians are compared, so that whatever
//! else the machine does falls on all of them. Then criterion's rows for the
//! parts.
//!
//! `WALKEEP_CORPUS` names the corpus (`target/corpus`); `WALKEEP_ROUNDS` how
//! many turns (5).

use std::{
    env,
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use walkeep::{
    codec::{About, Decoder, Encoder, EncoderKind, Format, Md5, Sha256, decode},
    postgres::record,
};

type Error = Box<dyn std::error::Error>;

const NAME: &str = "000000010000000000000023";

fn main() -> Result<(), Error> {
    let corpus =
        env::var_os("WALKEEP_CORPUS").map_or_else(|| "target/corpus".into(), PathBuf::from);
    let made = Command::new("benches/corpus.sh").arg(&corpus).status()?;
    if !made.success() {
        return Err("benches/corpus.sh failed".into());
    }
    let rounds = env::var("WALKEEP_ROUNDS").map_or(Ok(5), |rounds| rounds.parse())?;
    let classes = ["busy", "idle", "tiny", "bulk"]
        .map(|class| read_class(&corpus, class))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    print_table(&classes, rounds)?;
    print_decoding(&classes, rounds)?;

    let mut criterion = Criterion::default().configure_from_args();
    parts(&mut criterion, &classes[0].segments[0])?;
    criterion.final_summary();
    Ok(())
}

struct Class {
    name: &'static str,
    segments: Vec<Vec<u8>>,
    /// Bytes that `gzip -9` makes of them.
    gzip_size: u64,
}

fn read_class(corpus: &Path, name: &'static str) -> Result<Class, Error> {
    let (mut segments, mut gzip_size) = (Vec::new(), 0);
    for entry in std::fs::read_dir(corpus.join(name))? {
        let path = entry?.path();
        segments.push(std::fs::read(&path)?);
        let gzip = Command::new("gzip").arg("-9c").arg(&path).output()?;
        gzip_size += gzip.stdout.len() as u64;
    }
    Ok(Class {
        name,
        segments,
        gzip_size,
    })
}

/// Makes an object (or what is compared with it) and returns its size.
type Row = (&'static str, Box<dyn Fn(&[u8], &mut Vec<u8>) -> u64>);

fn rows() -> Result<Vec<Row>, Error> {
    let by = |encoder: Encoder, threads| -> Result<_, Error> {
        let encode = move |raw: &[u8], out: &mut Vec<u8>| {
            let made = encoder.encode(raw, About::new(NAME, Timestamp::UNIX_EPOCH), threads, out);
            made.expect("encode").stored_size
        };
        Ok(Box::new(encode) as Box<_>)
    };
    let ours = |kind, level, threads, low_latency| -> Result<_, Error> {
        let encoder = Encoder::new(kind, level)?;
        let encoder = if low_latency {
            encoder.low_latency()
        } else {
            encoder
        };
        by(encoder, threads)
    };
    let zstd = |level, threads| {
        by(
            Encoder::of(Format::Zstd, EncoderKind::Auto, level)?,
            threads,
        )
    };
    use EncoderKind::{Auto, Zlib};
    Ok(vec![
        ("zlib 9, one shot, no digest", Box::new(one_shot)),
        ("`zlib`, 9", ours(Zlib, 9, 1, false)?),
        ("`zlib`, 6", ours(Zlib, 6, 1, false)?),
        ("`auto`, 1", ours(Auto, 1, 1, false)?),
        ("`auto`, 4", ours(Auto, 4, 1, false)?),
        ("`auto`, 5", ours(Auto, 5, 1, false)?),
        ("`auto`, 9 (default)", ours(Auto, 9, 1, false)?),
        ("`auto`, 9, 2 threads", ours(Auto, 9, 2, false)?),
        ("`auto`, 9, low latency, 2 threads", ours(Auto, 9, 2, true)?),
        ("zstd, 1", zstd(1, 1)?),
        ("zstd, 3 (default)", zstd(3, 1)?),
        ("zstd, 3, 2 threads", zstd(3, 2)?),
        ("zstd, 6", zstd(6, 1)?),
        ("zstd, 9", zstd(9, 1)?),
    ])
}

/// The yardstick of the bars: the system's zlib, all input in one call.
fn one_shot(raw: &[u8], out: &mut Vec<u8>) -> u64 {
    // SAFETY: `size` says how much room the spare capacity has, and zlib writes
    // within it, from `raw`, which is as long as it says.
    unsafe {
        out.reserve(libz_sys::compressBound(raw.len() as _) as usize);
        let mut size = (out.capacity() - out.len()) as u64;
        let room = out.spare_capacity_mut().as_mut_ptr().cast();
        let result = libz_sys::compress2(room, &mut size, raw.as_ptr(), raw.len() as _, 9);
        assert_eq!(result, libz_sys::Z_OK);
        size
    }
}

fn print_table(classes: &[Class], rounds: usize) -> Result<(), Error> {
    let rows = rows()?;
    let measured: Vec<_> = classes
        .iter()
        .map(|class| paired(&rows, class, rounds))
        .collect();
    let print = |title, cell: &dyn Fn(&Class, &[Measured], usize) -> String| {
        print!("\n{title}\n\n| encoder, level |");
        classes.iter().for_each(|class| print!(" {} |", class.name));
        println!("\n|---{}|", "|---".repeat(classes.len()));
        for (row, (name, _)) in rows.iter().enumerate() {
            print!("| {name} |");
            for (class, measured) in classes.iter().zip(&measured) {
                print!(" {} |", cell(class, measured, row));
            }
            println!();
        }
    };
    print(
        "CPU milliseconds a segment (of zlib's), size over `gzip -9`",
        &|class, measured, row| {
            let (cpu, _, size) = measured[row];
            let each = cpu * 1e3 / class.segments.len() as f64;
            let of_zlib = cpu / measured[0].0;
            let of_gzip = size as f64 / class.gzip_size as f64;
            format!("{each:.1} ({of_zlib:.2}), {of_gzip:.3}")
        },
    );
    print("Wall milliseconds a segment", &|class, measured, row| {
        format!("{:.1}", measured[row].1 * 1e3 / class.segments.len() as f64)
    });
    Ok(())
}

/// Median CPU seconds and wall seconds for a class, and its size in bytes.
type Measured = (f64, f64, u64);

/// Measures every row, each in its turn.
fn paired(rows: &[Row], class: &Class, rounds: usize) -> Vec<Measured> {
    let mut taken = vec![(Vec::new(), Vec::new(), 0); rows.len()];
    let mut out = Vec::new();
    for _ in 0..rounds {
        for ((_, encode), (cpu, wall, size)) in rows.iter().zip(&mut taken) {
            let time = timed(|| {
                *size = 0;
                for raw in &class.segments {
                    out.clear();
                    *size += encode(raw, &mut out);
                }
            });
            cpu.push(time.0);
            wall.push(time.1);
        }
    }
    let rows = taken.into_iter();
    rows.map(|(cpu, wall, size)| (median(cpu), median(wall), size))
        .collect()
}

fn print_decoding(classes: &[Class], rounds: usize) -> Result<(), Error> {
    println!("\nUnpacking, MB/s of raw bytes\n\n| class | in memory | in pieces |\n|---|---|---|");
    for format in Format::ALL {
        let encoder = Encoder::of(format, EncoderKind::Auto, format.default_level())?;
        for class in classes {
            let raw = &class.segments[0];
            let mut object = Vec::new();
            encoder.encode(raw, About::new(NAME, Timestamp::UNIX_EPOCH), 1, &mut object)?;
            let (whole, pieces) = decoding(format, &object, raw.len() as u64, rounds);
            println!("| {}, {format} | {whole:.0} | {pieces:.0} |", class.name);
        }
    }
    Ok(())
}

/// How fast an object is unpacked, in memory and in pieces.
fn decoding(format: Format, object: &[u8], limit: u64, rounds: usize) -> (f64, f64) {
    let (mut whole, mut pieces, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..4 * rounds {
        out.clear();
        whole.push(timed(|| decode(format, object, limit, &mut out).expect("decode")).0);
        out.clear();
        let in_pieces = timed(|| {
            let mut decoder = Decoder::new(format, &mut out, limit).expect("start decoding");
            for piece in object.chunks(64 * 1024) {
                decoder.write(piece).expect("decode");
            }
            decoder.finish().map(drop).expect("finish decoding");
        });
        pieces.push(in_pieces.0);
    }
    let speed = |times| limit as f64 / 1e6 / median(times);
    (speed(whole), speed(pieces))
}

/// CPU seconds of the whole process, and wall seconds.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, f64) {
    let cpu = || {
        let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("read CPU time");
        Duration::from(time).as_secs_f64()
    };
    let (before, start) = (cpu(), Instant::now());
    black_box(work());
    (cpu() - before, start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn parts(criterion: &mut Criterion, busy: &[u8]) -> Result<(), Error> {
    let mut group = criterion.benchmark_group("codec");
    group
        .throughput(Throughput::Bytes(busy.len() as u64))
        .sample_size(20);
    group.bench_function("sha256", |bench| bench.iter(|| Sha256::of(black_box(busy))));
    group.bench_function("md5", |bench| bench.iter(|| Md5::of(black_box(busy))));
    group.bench_function("moments", |bench| {
        bench.iter(|| record::decode(black_box(busy), None).expect("decode"))
    });
    let zeros = vec![0; busy.len()];
    for (name, raw) in [("encode busy", busy), ("encode zeros", &zeros)] {
        let encoder = Encoder::new(EncoderKind::Auto, 9)?;
        let mut out = Vec::new();
        group.bench_function(name, |bench| {
            bench.iter(|| {
                out.clear();
                encoder
                    .encode(
                        black_box(raw),
                        About::new(NAME, Timestamp::UNIX_EPOCH),
                        1,
                        &mut out,
                    )
                    .expect("encode")
            })
        });
    }
    let mut object = Vec::new();
    Encoder::new(EncoderKind::Auto, 9)?.encode(
        busy,
        About::new(NAME, Timestamp::UNIX_EPOCH),
        1,
        &mut object,
    )?;
    let mut out = Vec::new();
    group.bench_function("decode busy", |bench| {
        bench.iter(|| {
            out.clear();
            decode(
                Format::Gzip,
                black_box(&object),
                busy.len() as u64,
                &mut out,
            )
            .expect("decode")
        })
    });
    group.finish();
    Ok(())
}
