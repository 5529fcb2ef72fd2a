//! A network in the papers' form: rows of operator, kernel, expansion, output, squeeze-and-excite, non-linearity, stride.

use crate::graph::Activation;

/// Whose paper a table follows, where libraries treat the papers differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// MobileNets, 2017.
    V1,
    /// Inverted Residuals and Linear Bottlenecks, 2018.
    V2,
    /// Searching for MobileNetV3, 2019.
    V3,
}

impl Family {
    /// All families.
    pub const ALL: [Family; 3] = [Family::V1, Family::V2, Family::V3];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Family::V1 => "v1",
            Family::V2 => "v2",
            Family::V3 => "v3",
        }
    }
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// A full convolution, batch norm, non-linearity. The first row is the stem; a 1×1 one right before the pool is the
    /// head; any other is a block.
    Convolution,
    /// V1's pair: depthwise, then 1×1 convolution, each with batch norm and non-linearity.
    Separable,
    /// V2's inverted residual with linear bottleneck, V3's bneck: expand, depthwise, squeeze-and-excite, project.
    Bottleneck,
    /// Global average pool.
    Pool,
    /// V3's 1×1 convolution without batch norm behind the pool, with non-linearity.
    Hidden,
    /// The fully connected layer to the classes.
    Classifier,
}

impl Operator {
    /// All operators.
    pub const ALL: [Operator; 6] = [
        Operator::Convolution,
        Operator::Separable,
        Operator::Bottleneck,
        Operator::Pool,
        Operator::Hidden,
        Operator::Classifier,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Operator::Convolution => "conv",
            Operator::Separable => "separable",
            Operator::Bottleneck => "bneck",
            Operator::Pool => "pool",
            Operator::Hidden => "hidden",
            Operator::Classifier => "classifier",
        }
    }
}

/// How wide a [`Operator::Bottleneck`] is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expansion {
    /// V2's t: times the input.
    Factor(usize),
    /// V3's exp size: channels at width 1.
    Channels(usize),
}

impl Expansion {
    /// Channels inside, for `input` channels at width 1.
    pub fn channels(self, input: usize) -> usize {
        match self {
            Expansion::Factor(t) => t * input,
            Expansion::Channels(c) => c,
        }
    }
}

/// What the shortcut of a [`Operator::Bottleneck`] connects (V2 figure 6b).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Shortcut {
    /// The block's input with its output, both narrow, where the stride is 1 and the channels are equal.
    #[default]
    Bottleneck,
    /// Nothing.
    None,
    /// The block's expansion with the next block's, both wide, as in ordinary residual networks: added before the
    /// latter's non-linearity where this block's stride is 1 and the channels are equal. In V2 this moves every
    /// shortcut by one layer.
    Expansion,
}

impl Shortcut {
    /// All kinds.
    pub const ALL: [Shortcut; 3] = [Shortcut::Bottleneck, Shortcut::None, Shortcut::Expansion];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Shortcut::Bottleneck => "bottleneck",
            Shortcut::None => "none",
            Shortcut::Expansion => "expansion",
        }
    }
}

/// A row of a paper's table. Columns that an operator does not have keep the value that [`Row::new`] gives them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The paper's input column, size and channels at width 1. It changes nothing, but it is checked.
    pub input: Option<[usize; 2]>,
    /// What the row stands for.
    pub operator: Operator,
    /// Size of the convolution's window.
    pub kernel: usize,
    /// Channels inside a bottleneck.
    pub expansion: Expansion,
    /// Output channels at width 1.
    pub out: usize,
    /// n: how often the row is repeated; only the first has the stride.
    pub repeat: usize,
    /// SE: whether the depthwise output is gated by squeeze-and-excite.
    pub squeeze_excite: bool,
    /// NL: the non-linearity.
    pub activation: Activation,
    /// s: the stride.
    pub stride: usize,
    /// What a bottleneck's shortcut connects.
    pub shortcut: Shortcut,
    /// A non-linearity behind the projection, which the papers leave linear (V2 figure 6a).
    pub projection: Option<Activation>,
    /// Whether widths below 1 shrink the row; V2's head stays at 1280 (V2 §6.1).
    pub shrinks: bool,
}

impl Row {
    /// A row of `operator` with nothing else said.
    pub const fn new(operator: Operator) -> Row {
        Row {
            input: None,
            operator,
            kernel: 1,
            expansion: Expansion::Factor(1),
            out: 0,
            repeat: 1,
            squeeze_excite: false,
            activation: Activation::Relu6,
            stride: 1,
            shortcut: Shortcut::Bottleneck,
            projection: None,
            shrinks: true,
        }
    }

    /// Whether the row has a non-linearity.
    pub(crate) fn has_activation(&self) -> bool {
        !matches!(self.operator, Operator::Pool | Operator::Classifier)
    }
}

/// A network in the paper's form. [`Table::graph`] builds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What it is called.
    pub name: String,
    /// Whose conventions it follows.
    pub family: Family,
    /// Share of zeros before the classifier in training.
    pub dropout: f32,
    /// From the stem to the classifier.
    pub rows: Vec<Row>,
}

/// One block of a table, repeated rows counted out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockInfo {
    /// From 1, as in the graph's names: `block1`.
    pub index: usize,
    /// From 1: a run of blocks of equal output channels, timm's numbering.
    pub stage: usize,
    /// From 1.
    pub index_in_stage: usize,
    /// Convolution, separable or bottleneck.
    pub operator: Operator,
    /// Whether there is a layer `block{index}.expand`. With [`super::WidthRule::Torchvision`] a width below 0.2 may
    /// round expansion and input to the same number, which removes the layer: the graph has the last word.
    pub has_expansion: bool,
    /// Whether there is a squeeze-and-excite.
    pub has_squeeze_excite: bool,
    /// The table's stride.
    pub stride: usize,
    /// Output channels at width 1.
    pub out: usize,
}

/// What the builder makes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Stem,
    Block,
    Head,
    Pool,
    Hidden,
    Classifier,
}

impl Table {
    /// What row `i` becomes.
    pub(super) fn part(&self, i: usize) -> Part {
        let before_pool = self.rows.get(i + 1).is_some_and(|next| next.operator == Operator::Pool);
        match self.rows[i].operator {
            Operator::Convolution if i == 0 => Part::Stem,
            Operator::Convolution if self.rows[i].kernel == 1 && before_pool => Part::Head,
            Operator::Convolution | Operator::Separable | Operator::Bottleneck => Part::Block,
            Operator::Pool => Part::Pool,
            Operator::Hidden => Part::Hidden,
            Operator::Classifier => Part::Classifier,
        }
    }

    /// The same network without the hidden layer between pool and classifier, if it has one.
    pub(crate) fn without_hidden(mut self) -> Table {
        self.rows.retain(|row| row.operator != Operator::Hidden);
        if let [.., pool, classifier] = self.rows.as_mut_slice() {
            classifier.input = classifier.input.and(pool.input).map(|[_, channels]| [1, channels]);
        }
        self
    }

    /// The blocks, in order.
    pub fn blocks(&self) -> Vec<BlockInfo> {
        let mut blocks: Vec<BlockInfo> = Vec::new();
        let mut channels = 0;
        for (i, row) in self.rows.iter().enumerate() {
            for repeat in 0..if self.part(i) == Part::Block { row.repeat } else { 0 } {
                let (stage, index_in_stage) = match blocks.last() {
                    Some(last) if last.out == row.out => (last.stage, last.index_in_stage + 1),
                    Some(last) => (last.stage + 1, 1),
                    None => (1, 1),
                };
                let bottleneck = row.operator == Operator::Bottleneck;
                blocks.push(BlockInfo {
                    index: blocks.len() + 1,
                    stage,
                    index_in_stage,
                    operator: row.operator,
                    has_expansion: bottleneck && row.expansion.channels(channels) != channels,
                    has_squeeze_excite: bottleneck && row.squeeze_excite,
                    stride: if repeat == 0 { row.stride } else { 1 },
                    out: row.out,
                });
                channels = row.out;
            }
            channels = row.out;
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use crate::arch;

    #[test]
    fn stages_are_timms() {
        let cases: [(&str, &[usize]); 4] = [
            ("mobilenet_v1", &[1, 2, 2, 6, 2]),
            ("mobilenet_v2", &[1, 2, 3, 4, 3, 3, 1]),
            ("mobilenet_v3_large", &[1, 2, 3, 4, 2, 3]),
            ("mobilenet_v3_small", &[1, 2, 3, 2, 3]),
        ];
        for (name, sizes) in cases {
            let blocks = arch::find(name).unwrap().blocks();
            let mut found = vec![0; sizes.len()];
            for (i, block) in blocks.iter().enumerate() {
                found[block.stage - 1] += 1;
                assert_eq!((block.index, block.index_in_stage), (i + 1, found[block.stage - 1]), "{name}");
            }
            assert_eq!(found, sizes, "{name}");
        }
    }
}
