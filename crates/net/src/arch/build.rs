//! A table becomes a graph.

use super::spec::{Spec, WidthRule, make_divisible, scale};
use super::table::{Expansion, Operator, Part, Row, Shortcut, Table};
use crate::count::product;
use crate::error::Error;
use crate::graph::{Activation, Graph, NodeId, Op, Padding, Window};

/// Most learned values of a network, 4 GiB of `f32`; the papers' have at most 7 million. Rows and spec are bounded one by
/// one, which allows networks of hundreds of times that.
const MAX_LEARNED: u64 = 1 << 30;

impl Table {
    /// The network as `spec` asks.
    ///
    /// Nodes are named by their place: `stem`, `block1` …, `head`, `pool`, `hidden`, `classifier`, and inside them
    /// `conv`, `norm`, `act`. Outputs are `features`, the last map before the pool, and `logits`, which a network of no
    /// classes lacks.
    ///
    /// # Errors
    /// [`Error::Config`] where the table or the spec is no network, or one too large for any machine's good.
    pub fn graph(&self, spec: &Spec) -> Result<Graph, Error> {
        spec.check()?;
        self.check().map_err(|reason| Error::Config(format!("{}: {reason}", self.name)))?;
        let activation = self.activation(spec)?;
        let mut graph = Graph::default();
        let at = graph.input(spec.input_channels);
        let strides = Strides::new(spec);
        let mut builder = Builder { table: self, spec, graph, at, nominal: 0, block: 0, strides, wide: None };
        for (i, row) in self.rows.iter().enumerate() {
            let row = Row { activation: activation.unwrap_or(row.activation), ..*row };
            match self.part(i) {
                Part::Stem => builder.stem(&row),
                Part::Block => (0..row.repeat).for_each(|n| {
                    builder.block(&Row { stride: if n == 0 { row.stride } else { 1 }, ..row });
                }),
                Part::Head => builder.head(&row),
                Part::Pool => builder.pool(),
                Part::Hidden => builder.hidden(&row),
                Part::Classifier if spec.classes == 0 => {}
                Part::Classifier => builder.classifier(),
            }
        }
        self.check_learned(spec, &builder.graph)?;
        Ok(builder.graph)
    }

    fn check_learned(&self, spec: &Spec, graph: &Graph) -> Result<(), Error> {
        let parameters = graph.parameters();
        let learned = parameters.iter().filter(|p| p.role.is_learned());
        let learned = learned.fold(0u64, |sum, p| sum.saturating_add(product(&p.shape)));
        if learned > MAX_LEARNED {
            return Err(Error::Config(format!(
                "{} at width {:?} with {} classes has {learned} learned values; at most {MAX_LEARNED} are built: give \
                 a smaller width or fewer classes",
                self.name, spec.width, spec.classes
            )));
        }
        Ok(())
    }

    /// The non-linearity that replaces all of the table's.
    fn activation(&self, spec: &Spec) -> Result<Option<Activation>, Error> {
        let mut own = self.rows.iter().filter(|r| r.has_activation()).map(|r| r.activation);
        let first = own.next();
        match (spec.activation, own.find(|&a| Some(a) != first), first) {
            (Some(_), Some(other), Some(first)) => Err(Error::Config(format!(
                "{} uses {first} and {other}; only a network with a single activation can change it, others by a table",
                self.name
            ))),
            _ => Ok(spec.activation),
        }
    }
}

/// Turns the table's strides into strides and dilations.
struct Strides {
    /// How many of the next strides are dropped for small photos.
    to_drop: usize,
    /// Stride of the current map against the input.
    current: usize,
    /// Where dilation takes over.
    limit: usize,
    dilation: usize,
    /// Whether a layer that loses its stride is dilated itself, or only those behind it.
    at_once: bool,
}

impl Strides {
    fn new(spec: &Spec) -> Strides {
        Strides {
            to_drop: (32 / spec.total_stride).ilog2() as usize,
            current: 1,
            // 32 is no limit: a table may have more strides than the papers' five.
            limit: if spec.output_stride == 32 { usize::MAX } else { spec.output_stride },
            dilation: 1,
            at_once: spec.width_rule == WidthRule::Torchvision,
        }
    }

    /// Stride and dilation of the next layer.
    fn next(&mut self, stride: usize) -> (usize, usize) {
        let former = self.dilation;
        if stride == 1 {
            (1, former)
        } else if self.to_drop > 0 {
            self.to_drop -= 1;
            (1, former)
        } else if self.current * stride <= self.limit {
            self.current *= stride;
            (stride, former)
        } else {
            self.dilation *= stride;
            (1, if self.at_once { self.dilation } else { former })
        }
    }
}

struct Builder<'a> {
    table: &'a Table,
    spec: &'a Spec,
    graph: Graph,
    /// The last node.
    at: NodeId,
    /// Channels of the last node in the table, at width 1.
    nominal: usize,
    /// Blocks so far.
    block: usize,
    strides: Strides,
    /// The last block's expansion, where the next block's is added to it.
    wide: Option<NodeId>,
}

impl Builder<'_> {
    fn push(&mut self, name: impl Into<String>, op: Op) -> NodeId {
        self.at = self.graph.push(name, op, &[self.at]);
        self.at
    }

    fn tap(&mut self, name: impl Into<String>) {
        self.graph.taps.push((name.into(), self.at));
    }

    fn channels(&self) -> usize {
        self.graph[self.at].channels
    }

    /// The window of the row's convolution. A 1×1 window has nothing to dilate.
    fn window(&mut self, row: &Row) -> Window {
        let (stride, dilation) = self.strides.next(row.stride);
        Window::square(row.kernel, stride, if row.kernel == 1 { 1 } else { dilation }, self.spec.padding)
    }

    fn pointwise(&self, out: usize) -> Op {
        Op::Convolution { window: Window::square(1, 1, 1, self.spec.padding), out, bias: false }
    }

    /// A convolution without bias, and batch norm.
    fn normed(&mut self, name: &str, op: Op) {
        self.push(format!("{name}.conv"), op);
        self.push(format!("{name}.norm"), Op::BatchNorm { epsilon: self.spec.bn_epsilon });
    }

    /// A convolution without bias, batch norm and a non-linearity.
    fn layer(&mut self, name: &str, op: Op, activation: Activation) {
        self.normed(name, op);
        self.push(format!("{name}.act"), Op::Activation(activation));
    }

    fn stem(&mut self, row: &Row) {
        let out = self.spec.width_rule.stem(self.table.family, row.out, self.spec.width);
        self.full("stem", row, out);
        self.tap("stem");
    }

    fn full(&mut self, name: &str, row: &Row, out: usize) {
        let op = Op::Convolution { window: self.window(row), out, bias: false };
        self.layer(name, op, row.activation);
        self.nominal = row.out;
    }

    fn block(&mut self, row: &Row) {
        self.block += 1;
        let name = format!("block{}", self.block);
        let out = self.spec.width_rule.scale(self.table.family, row.out, self.spec.width);
        let wide = self.wide.take();
        match row.operator {
            Operator::Separable => {
                self.depthwise(&name, row);
                let op = self.pointwise(out);
                self.layer(&format!("{name}.pointwise"), op, row.activation);
            }
            Operator::Bottleneck => self.bottleneck(&name, row, out, wide),
            _ => self.full(&format!("{name}.conv"), row, out),
        }
        self.tap(name);
        self.nominal = row.out;
    }

    fn depthwise(&mut self, name: &str, row: &Row) {
        let mut window = self.window(row);
        let pads_end = self.spec.width_rule.pads_end(self.table.family);
        if pads_end && window.padding == Padding::Same && window.stride != [1, 1] {
            window.padding = Padding::End;
        }
        let op = Op::Depthwise { window, bias: false };
        self.layer(&format!("{name}.depthwise"), op, row.activation);
        self.tap(format!("{name}.depthwise"));
    }

    /// The channels of a bottleneck's inside.
    fn expanded(&self, row: &Row) -> usize {
        let (width, input) = (self.spec.width, self.channels());
        match row.expansion {
            Expansion::Factor(t) => t * input,
            Expansion::Channels(c) if width == 1.0 => c,
            Expansion::Channels(c) if self.spec.width_rule == WidthRule::Torchvision => scale(c, width),
            Expansion::Channels(c) => make_divisible(c as f64 * input as f64 / self.nominal as f64),
        }
    }

    fn bottleneck(&mut self, name: &str, row: &Row, out: usize, wide: Option<NodeId>) {
        let input = self.at;
        let expanded = self.expanded(row);
        if expanded != self.channels() {
            let expand = format!("{name}.expand");
            let op = self.pointwise(expanded);
            self.normed(&expand, op);
            if let Some(wide) =
                wide.filter(|&w| row.shortcut == Shortcut::Expansion && self.graph[w].channels == expanded)
            {
                self.at = self.graph.push(format!("{expand}.add"), Op::Add, &[wide, self.at]);
            }
            self.push(format!("{expand}.act"), Op::Activation(row.activation));
            self.tap(expand);
            // The table's stride counts, not the one that dilation leaves: the function of the weights stays the same.
            self.wide = (row.shortcut == Shortcut::Expansion && row.stride == 1).then_some(self.at);
        }
        self.depthwise(name, row);
        if row.squeeze_excite {
            self.excite(&format!("{name}.excite"));
        }
        let op = self.pointwise(out);
        self.normed(&format!("{name}.project"), op);
        if let Some(activation) = row.projection {
            self.push(format!("{name}.project.act"), Op::Activation(activation));
        }
        if row.shortcut == Shortcut::Bottleneck && row.stride == 1 && self.graph[input].channels == out {
            self.at = self.graph.push(format!("{name}.add"), Op::Add, &[input, self.at]);
        }
    }

    /// V3 §5.3: squeeze to a quarter, ReLU, hard sigmoid; with biases, without batch norm.
    fn excite(&mut self, name: &str) {
        let (gated, channels) = (self.at, self.channels());
        self.push(format!("{name}.pool"), Op::GlobalAveragePool);
        self.push(format!("{name}.reduce"), Op::FullyConnected { out: make_divisible((channels / 4) as f64) });
        self.push(format!("{name}.relu"), Op::Activation(Activation::Relu));
        self.push(format!("{name}.expand"), Op::FullyConnected { out: channels });
        self.push(format!("{name}.gate"), Op::Activation(Activation::HardSigmoid));
        self.at = self.graph.push(format!("{name}.scale"), Op::Excite, &[gated, self.at]);
    }

    fn head(&mut self, row: &Row) {
        let out = if !row.shrinks {
            scale(row.out, self.spec.width.max(1.0))
        } else if matches!(self.spec.width_rule, WidthRule::Torchvision | WidthRule::Keras) {
            // Six times the input in V3: the table's own ratio.
            (row.out * self.channels()).div_ceil(self.nominal)
        } else {
            scale(row.out, self.spec.width)
        };
        self.full("head", row, out);
        self.tap("head");
    }

    fn pool(&mut self) {
        self.graph.outputs.push(("features".into(), self.at));
        self.push("pool", Op::GlobalAveragePool);
        self.tap("pooled");
    }

    fn hidden(&mut self, row: &Row) {
        let out = match self.spec.width_rule {
            WidthRule::Torchvision => scale(row.out, self.spec.width),
            WidthRule::Keras => scale(row.out, self.spec.width.max(1.0)),
            WidthRule::TensorFlow | WidthRule::Timm => row.out,
        };
        self.push("hidden", Op::FullyConnected { out });
        self.push("hidden.act", Op::Activation(row.activation));
        self.tap("hidden");
    }

    fn classifier(&mut self) {
        if self.table.dropout > 0.0 {
            self.push("dropout", Op::Dropout { rate: self.table.dropout });
        }
        self.push("classifier", Op::FullyConnected { out: self.spec.classes });
        self.graph.outputs.push(("logits".into(), self.at));
    }
}
