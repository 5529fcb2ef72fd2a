//! `mobilenet summary`: a network as its paper's table, with costs.

use clap::Args;
use mobilenet::arch::Spec;
use mobilenet::net::count::{Layer, Share, Summary as Costs};

use crate::args::{Network, Resolution, SpecArgs};
use crate::failure::Failure;
use crate::print;
use crate::text::{Grid, Side, millions, thousands};

const EXAMPLES: &str = "\
Examples:
  mobilenet summary mobilenet_v1
  mobilenet summary mobilenet_v3_small --width 0.75 --resolution 192x256 --json
  mobilenet summary mobilenet_v2 --toml > mine.toml
  mobilenet summary mine.toml --classes 10";

/// Show a network's layers, parameters and multiply-adds
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Summary {
    /// A name that `mobilenet models` lists, a TOML table, or a weights file
    #[arg(value_hint = clap::ValueHint::FilePath)]
    model: String,
    /// Size of the input: one number for a square, or HEIGHTxWIDTH [default: the weights' own, 224 without]
    #[arg(long, value_name = "SIZE")]
    resolution: Option<Resolution>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the paper's table as TOML, a start for a network of your own
    #[arg(long, conflicts_with_all = ["json", "resolution"])]
    toml: bool,
    #[command(flatten)]
    spec: SpecArgs,
}

impl Summary {
    pub fn run(self) -> Result<(), Failure> {
        let Network { table, spec, graph, size, .. } = self.spec.open(Some(&self.model), None)?;
        if self.toml && spec != Spec::default() {
            return Err(Failure::bad("--toml prints the table itself, which flags of the network do not change"));
        }
        if self.toml {
            return print::line(table.to_toml().trim_end());
        }
        let resolution = self.resolution.unwrap_or(size);
        let costs = Costs::new(&graph, resolution.h, resolution.w)?;
        if self.json { print::json(&costs) } else { print::line(page(&table.name, &spec, resolution, &costs)) }
    }
}

/// Everything for people.
fn page(name: &str, spec: &Spec, Resolution { h, w }: Resolution, costs: &Costs) -> String {
    let classes = match spec.classes {
        0 => "no classifier".to_owned(),
        classes => format!("{} classes", thousands(classes as u64)),
    };
    let heading = format!("{name}, width {}, {h}×{w} pixels, {classes}", spec.width);
    let separable = costs.layers.iter().any(|l| l.as_convolution.is_some());
    let note = "\n\nMAdds: multiply-adds, in millions. full conv: of the full convolution that a depthwise layer and the 1x1\n\
                behind it stand for. factor: what the two cost of it, 1/N + 1/k² for N outputs and a k×k window.";
    format!(
        "{heading}\n\n{}{}\n\n{}\n\n{} parameters, {} multiply-adds ({} M)",
        layers(&costs.layers),
        if separable { note } else { "" },
        shares(costs),
        thousands(costs.parameters),
        thousands(costs.multiply_adds),
        millions(costs.multiply_adds),
    )
}

fn layers(layers: &[Layer]) -> Grid<8> {
    let mut grid = Grid::new([
        ("layer", Side::Left),
        ("input", Side::Left),
        ("operator", Side::Left),
        ("output", Side::Left),
        ("parameters", Side::Right),
        ("MAdds", Side::Right),
        ("full conv", Side::Right),
        ("factor", Side::Right),
    ]);
    for layer in layers {
        let full = layer.as_convolution;
        grid.row([
            print::layer(&layer.name).into(),
            size(layer.input),
            layer.operator.clone(),
            size(layer.output),
            thousands(layer.parameters),
            millions(layer.multiply_adds),
            full.map_or_else(String::new, |f| millions(f.multiply_adds)),
            full.map_or_else(String::new, |f| format!("{:.3}", f.factor)),
        ]);
    }
    grid
}

/// As the papers write sizes: `112²×64`.
fn size([h, w, c]: [usize; 3]) -> String {
    if h == w { format!("{h}²×{c}") } else { format!("{h}×{w}×{c}") }
}

/// V1's table 2.
fn shares(costs: &Costs) -> Grid<3> {
    let mut grid = Grid::new([("layers", Side::Left), ("multiply-adds", Side::Right), ("weights", Side::Right)]);
    let all = &costs.share;
    for (kind, Share { multiply_adds, parameters }) in [
        ("pointwise (1x1)", all.pointwise),
        ("depthwise", all.depthwise),
        ("other convolutions", all.convolution),
        ("fully connected", all.fully_connected),
    ] {
        grid.row([kind.into(), format!("{multiply_adds:.2} %"), format!("{parameters:.2} %")]);
    }
    grid
}
