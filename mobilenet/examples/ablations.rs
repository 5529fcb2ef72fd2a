//! The papers' ablations on photos of your own: separable against full convolutions (V1 table 4), linear against
//! non-linear bottlenecks and shortcuts (V2 figure 6), each over widths and resolutions (V1 tables 6 and 7), drawn as
//! accuracy against multiply-adds and against measured latency (V1 figure 4, V2 figure 5).
//!
//!     cargo run --release -p mobilenet --example ablations -- PHOTOS FOLDER [EPOCHS]
//!
//! PHOTOS is a folder per class, or a CSV as `mobilenet train` takes it, with a `val` beside `train`. FOLDER gets a run a
//! network, `results.csv` and `ablations.svg`. Interrupted, the same command goes on; what is trained is not trained again.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use mobilenet::arch::{Operator, Row, Shortcut, Spec, Table, v1, v2};
use mobilenet::data::Splits;
use mobilenet::kernels::cpu;
use mobilenet::net::Activation;
use mobilenet::net::count::Summary;
use mobilenet::run::measure::{latencies_ms, median};
use mobilenet::train::checkpoint::Checkpoint;
use mobilenet::train::recipe::Crop;
use mobilenet::train::trainer::{Control, Event, Start};
use mobilenet::train::{Recipe, Trainer};
use mobilenet::{Pool, Program, init};
use plotters::prelude::*;

const WIDTHS: [f64; 3] = [0.25, 0.5, 0.75];
const RESOLUTIONS: [usize; 3] = [16, 24, 32];

/// A network and what it reached.
struct Point {
    network: &'static str,
    width: f64,
    resolution: usize,
    million_multiply_adds: f64,
    milliseconds: f64,
    top1: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [photos, folder, rest @ ..] = &arguments[..] else { return Err("give PHOTOS and a FOLDER".into()) };
    let epochs = rest.first().map_or(Ok(10.0), |text| text.parse())?;
    let (photos, folder) = (Path::new(photos), Path::new(folder));
    std::fs::create_dir_all(folder)?;

    let mut points = Vec::new();
    for (network, table) in networks() {
        // Widths at the full resolution, and resolutions at the middle width.
        let widths = WIDTHS.map(|width| (width, RESOLUTIONS[2]));
        let resolutions = [RESOLUTIONS[0], RESOLUTIONS[1]].map(|resolution| (WIDTHS[1], resolution));
        for (width, resolution) in widths.into_iter().chain(resolutions) {
            let point = measure(network, &table, (width, resolution), epochs, photos, folder)?;
            println!(
                "{network:<24} width {width:<4} {resolution} px  {:7.2} M multiply-adds  {:6.3} ms  top-1 {:5.2} %",
                point.million_multiply_adds,
                point.milliseconds,
                100.0 * point.top1
            );
            points.push(point);
        }
    }
    write_csv(&folder.join("results.csv"), &points)?;
    draw(&folder.join("ablations.svg"), &points)
}

/// The papers' networks, and what they compare them with.
fn networks() -> Vec<(&'static str, Table)> {
    let full = |row: Row| match row.operator {
        Operator::Separable => Row { operator: Operator::Convolution, ..row },
        _ => row,
    };
    let bottlenecks = |change: fn(&mut Row)| {
        let mut table = v2::table();
        table.rows.iter_mut().filter(|row| row.operator == Operator::Bottleneck).for_each(change);
        table
    };
    let v1_full = Table { rows: v1::table().rows.into_iter().map(full).collect(), ..v1::table() };
    vec![
        ("V1", v1::table()),
        ("V1, full convolutions", v1_full),
        ("V2", v2::table()),
        ("V2, ReLU6 in bottlenecks", bottlenecks(|row| row.projection = Some(Activation::Relu6))),
        ("V2, no shortcuts", bottlenecks(|row| row.shortcut = Shortcut::None)),
        ("V2, wide shortcuts", bottlenecks(|row| row.shortcut = Shortcut::Expansion)),
    ]
}

/// Trains a network, or takes what a former call trained, and counts and times it.
fn measure(
    network: &'static str,
    table: &Table,
    (width, resolution): (f64, usize),
    epochs: f64,
    photos: &Path,
    folder: &Path,
) -> Result<Point, Box<dyn Error>> {
    let name: String = network.chars().filter(char::is_ascii_alphanumeric).collect();
    let run = folder.join(format!("{name}-{width}-{resolution}"));
    std::fs::create_dir_all(&run)?;
    let file = run.join("table.toml");
    std::fs::write(&file, table.to_toml())?;
    let mut recipe = Recipe {
        model: file.to_string_lossy().into_owned(),
        width,
        total_stride: 8,
        resolution,
        batch: 64,
        epochs,
        lr: 0.06,
        dropout: Some(0.0),
        ..Recipe::default()
    };
    recipe.augmentation.crop = Crop::Padded;
    recipe.augmentation.padding = resolution / 8;
    let pool = Arc::new(Pool::new(cpu::default_threads()));
    let top1 = train(recipe, photos, &run, &pool)?;

    let splits = Splits::open(photos)?;
    let classes = splits.train.classes().len();
    let graph = table.graph(&Spec { width, classes, total_stride: 8, ..Spec::default() })?;
    let costs = Summary::new(&graph, resolution, resolution)?;
    let program = Program::compile(&graph, init::random(&graph, 1), &Default::default())?;
    let mut arena = program.arena(1, resolution, resolution, &Arc::new(Pool::new(1)))?;
    arena.input_mut().fill(0.5);
    Ok(Point {
        network,
        width,
        resolution,
        million_multiply_adds: costs.multiply_adds as f64 / 1e6,
        milliseconds: median(&latencies_ms(&program, &mut arena, 0.5)),
        top1,
    })
}

/// The top-1 on the validation photos after the last epoch.
fn train(recipe: Recipe, photos: &Path, run: &Path, pool: &Arc<Pool>) -> Result<f64, Box<dyn Error>> {
    let Splits { train, validation } = Splits::open(photos)?;
    let validation = validation.ok_or("there are no photos to check with: put a folder val beside train")?;
    let start = match Checkpoint::is_in(run) {
        true => Some(Start::checkpoint(Checkpoint::load(run)?)),
        false => None,
    };
    let is_resumed = start.is_some();
    let mut trainer = Trainer::new(recipe, Arc::new(train), Some(Arc::new(validation)), run, pool, start)?;
    if is_resumed {
        trainer.resume()?;
    }
    trainer.run(&mut |event| {
        if let Event::Epoch { epoch, validation: Some(figures), .. } = event {
            eprintln!("{}: epoch {epoch}: {figures}", run.display());
        }
        Control::Continue
    })?;
    Ok(trainer.evaluate()?.and_then(|figures| figures.top1).ok_or("the photos have no single class")?)
}

fn write_csv(path: &Path, points: &[Point]) -> Result<(), Box<dyn Error>> {
    let mut text = String::from("network,width,resolution,million_multiply_adds,milliseconds,top1\n");
    for Point { network, width, resolution, million_multiply_adds, milliseconds, top1 } in points {
        text += &format!("\"{network}\",{width},{resolution},{million_multiply_adds:.3},{milliseconds:.4},{top1:.4}\n");
    }
    Ok(std::fs::write(path, text)?)
}

/// Two panels with logarithmic costs: multiply-adds on the left, milliseconds on the right.
fn draw(path: &Path, points: &[Point]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (1080, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(540);
    panel(&left, "million multiply-adds", points, |point| point.million_multiply_adds)?;
    panel(&right, "milliseconds, 1 thread", points, |point| point.milliseconds)?;
    root.present()?;
    Ok(())
}

fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    cost_name: &str,
    points: &[Point],
    cost: impl Fn(&Point) -> f64,
) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    let least = |values: &dyn Fn(&Point) -> f64| points.iter().map(values).fold(f64::INFINITY, f64::min);
    let most = |values: &dyn Fn(&Point) -> f64| points.iter().map(values).fold(0.0, f64::max);
    let top1 = |point: &Point| 100.0 * point.top1;
    let mut chart = ChartBuilder::on(area).margin(12).x_label_area_size(42).y_label_area_size(46).build_cartesian_2d(
        (least(&cost) * 0.8..most(&cost) * 1.25).log_scale(),
        least(&top1) - 1.0..most(&top1) + 1.0,
    )?;
    chart.configure_mesh().x_desc(cost_name).y_desc("top-1, %").light_line_style(WHITE).draw()?;
    let mut networks: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
    points.iter().for_each(|point| networks.entry(point.network).or_default().push(point));
    for (i, (network, mut points)) in networks.into_iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        points.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        let at = |point: &&Point| (cost(point), top1(point));
        let widths: Vec<_> = points.iter().filter(|point| point.resolution == RESOLUTIONS[2]).map(at).collect();
        chart
            .draw_series(LineSeries::new(widths, color.stroke_width(2)))?
            .label(network)
            .legend(move |(x, y)| Circle::new((x + 8, y), 4, color.filled()));
        // Filled: widths; hollow: resolutions.
        let circle = |point: &&Point| {
            let style = if point.resolution == RESOLUTIONS[2] { color.filled() } else { color.stroke_width(1) };
            Circle::new(at(point), 4, style)
        };
        chart.draw_series(points.iter().map(circle))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}
