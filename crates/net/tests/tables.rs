//! Every registered network and every example table at the choices that a user has.

use std::path::{Path, PathBuf};

use mobilenet_net::arch::{self, Family, Spec, Table, WidthRule};
use mobilenet_net::count::Summary;
use mobilenet_net::{Activation, Error, Graph, Op, Padding};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tables");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn example(name: &str) -> Graph {
    let file = examples().into_iter().find(|f| f.file_stem().unwrap() == name).unwrap();
    arch::find(file.to_str().unwrap()).unwrap().graph(&Spec::default()).unwrap()
}

fn tables() -> Vec<Table> {
    let built_in = arch::models().iter().map(|m| (m.table)());
    built_in.chain(examples().iter().map(|f| Table::from_file(f).unwrap())).collect()
}

fn summary(graph: &Graph) -> Summary {
    Summary::new(graph, 224, 224).unwrap()
}

fn node<'a>(graph: &'a Graph, name: &str) -> &'a Op {
    &graph.nodes.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}")).op
}

#[test]
fn every_table_builds_and_infers_for_every_choice_at_odd_sizes() {
    let size = |input: usize, stride: usize| input.div_ceil(stride);
    for table in tables() {
        for width in [0.1, 0.35, 0.5, 0.75, 1.0, 1.4] {
            for width_rule in WidthRule::ALL {
                for (output_stride, total_stride) in [(32, 32), (16, 32), (8, 32), (32, 16), (32, 8), (8, 16), (16, 16)]
                {
                    for padding in [Padding::Symmetric, Padding::Same] {
                        let spec = Spec { width, width_rule, output_stride, total_stride, padding, ..Spec::default() };
                        let graph = table.graph(&spec).unwrap();
                        let stride = output_stride.min(total_stride);
                        for (h, w) in [(224, 224), (97, 131), (33, 1)] {
                            // Keras's V1 loses the last pixel of odd maps, as its own test below shows.
                            let is_keras_v1 = (table.family, width_rule) == (Family::V1, WidthRule::Keras);
                            if is_keras_v1 && padding == Padding::Same && (h, w) != (224, 224) {
                                continue;
                            }
                            let shapes = graph.infer(2, h, w).unwrap();
                            let features = shapes[graph.find("features").unwrap()];
                            let expected = (size(h, stride), size(w, stride));
                            assert_eq!((features.h, features.w), expected, "{} {spec:?} at {h}×{w}", table.name);
                            let logits = shapes[graph.find("logits").unwrap()];
                            assert_eq!((logits.n, logits.c, logits.h, logits.w), (2, 1000, 1, 1));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn keras_v1_pads_at_the_end_and_so_differs_from_same_at_odd_sizes() {
    let features = |width_rule: WidthRule, size: usize| {
        let spec = Spec { width_rule, padding: Padding::Same, ..Spec::default() };
        let graph = arch::find("mobilenet_v1").unwrap().graph(&spec).unwrap();
        graph.infer(1, size, size).unwrap()[graph.find("features").unwrap()].h
    };
    // 90 → 45 → 22 → 11 → 5 → 2, and 90 → 45 → 23 → 12 → 6 → 3.
    assert_eq!((features(WidthRule::Keras, 90), features(WidthRule::TensorFlow, 90)), (2, 3));
    assert_eq!((features(WidthRule::Keras, 224), features(WidthRule::TensorFlow, 224)), (7, 7));
}

#[test]
fn strides_change_no_parameter() {
    for table in tables() {
        for width in [0.1, 0.35, 1.0] {
            let plain = table.graph(&Spec { width, ..Spec::default() }).unwrap();
            for (output_stride, total_stride) in [(16, 32), (8, 32), (32, 16), (32, 8)] {
                let graph = table.graph(&Spec { width, output_stride, total_stride, ..Spec::default() }).unwrap();
                assert_eq!(graph.parameters(), plain.parameters(), "{} {width}", table.name);
            }
        }
    }
}

#[test]
fn a_table_written_as_toml_gives_the_same_network() {
    for table in tables() {
        let text = table.to_toml();
        let read = Table::from_toml(&text).unwrap();
        assert_eq!((&read.name, read.dropout), (&table.name, table.dropout));
        assert_eq!(read.to_toml(), text);
        for width_rule in WidthRule::ALL {
            let spec = Spec { width: 0.6, width_rule, ..Spec::default() };
            assert_eq!(read.graph(&spec).unwrap(), table.graph(&spec).unwrap(), "{}", table.name);
        }
    }
}

#[test]
fn names_are_unique_and_taps_name_every_block() {
    for table in tables() {
        let graph = table.graph(&Spec::default()).unwrap();
        let mut names: Vec<_> = graph.nodes.iter().map(|n| &n.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), graph.nodes.len(), "{}", table.name);
        for block in table.blocks() {
            let name = format!("block{}", block.index);
            assert!(graph.find(&name).is_some());
            assert_eq!(graph.find(&format!("{name}.expand")).is_some(), block.has_expansion, "{} {name}", table.name);
            let scale = format!("{name}.excite.scale");
            assert_eq!(graph.nodes.iter().any(|n| n.name == scale), block.has_squeeze_excite);
        }
        assert!(graph.find("stem").is_some() && graph.find("pooled").is_some());
    }
}

#[test]
fn v3_small_has_the_documented_nodes() {
    let graph = arch::v3::small().graph(&Spec::default()).unwrap();
    let names: Vec<_> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
    #[rustfmt::skip]
    let start = [
        "input", "stem.conv", "stem.norm", "stem.act", "block1.depthwise.conv", "block1.depthwise.norm",
        "block1.depthwise.act", "block1.excite.pool", "block1.excite.reduce", "block1.excite.relu",
        "block1.excite.expand", "block1.excite.gate", "block1.excite.scale", "block1.project.conv",
        "block1.project.norm", "block2.expand.conv", "block2.expand.norm", "block2.expand.act",
    ];
    assert_eq!(names[..start.len()], start);
    #[rustfmt::skip]
    let end = [
        "block11.project.norm", "block11.add", "head.conv", "head.norm", "head.act", "pool", "hidden", "hidden.act",
        "dropout", "classifier",
    ];
    assert_eq!(names[names.len() - end.len()..], end);
    // The depthwise tap lies before the gate (TensorFlow's LR-ASPP reads it there).
    assert_eq!(graph[graph.find("block1.depthwise").unwrap()].name, "block1.depthwise.act");
}

#[test]
fn the_first_layer_without_its_stride_is_dilated_by_torchvision_only() {
    let dilations = |width_rule, output_stride| -> Vec<(usize, usize)> {
        let graph = arch::v3::large().graph(&Spec { width_rule, output_stride, ..Spec::default() }).unwrap();
        let window = |i: usize| match node(&graph, &format!("block{i}.depthwise.conv")) {
            Op::Depthwise { window, .. } => (window.stride[0], window.dilation[0]),
            other => panic!("{other:?}"),
        };
        [6, 7, 8, 12, 13, 14, 15].map(window).to_vec()
    };
    let plain = [(1, 1), (2, 1), (1, 1), (1, 1), (2, 1), (1, 1), (1, 1)];
    assert_eq!(dilations(WidthRule::TensorFlow, 32), plain);
    assert_eq!(dilations(WidthRule::TensorFlow, 16), [(1, 1), (2, 1), (1, 1), (1, 1), (1, 1), (1, 2), (1, 2)]);
    assert_eq!(dilations(WidthRule::Torchvision, 16), [(1, 1), (2, 1), (1, 1), (1, 1), (1, 2), (1, 2), (1, 2)]);
    assert_eq!(dilations(WidthRule::TensorFlow, 8), [(1, 1), (1, 1), (1, 2), (1, 2), (1, 2), (1, 4), (1, 4)]);
}

#[test]
fn total_stride_takes_the_first_strides_without_dilation() {
    let spec = Spec { total_stride: 8, ..Spec::default() };
    let graph = arch::v2::table().graph(&spec).unwrap();
    let mut windows = graph.nodes.iter().filter_map(|n| match n.op {
        Op::Convolution { window, .. } | Op::Depthwise { window, .. } => Some(window),
        _ => None,
    });
    let strided =
        graph.nodes.iter().filter(|n| matches!(n.op, Op::Depthwise { window, .. } if window.stride == [2, 2]));
    assert!(windows.all(|w| w.dilation == [1, 1]));
    let names: Vec<_> = strided.map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["block4.depthwise.conv", "block7.depthwise.conv", "block14.depthwise.conv"]);
}

#[test]
fn networks_of_more_than_a_billion_values_are_refused() {
    let v2 = |width, classes| arch::v2::table().graph(&Spec { width, classes, ..Spec::default() });
    assert_eq!(
        v2(16.0, 1_000_000).unwrap_err().to_string(),
        "mobilenet_v2 at width 16.0 with 1000000 classes has 21026503232 learned values; at most 1073741824 are built: \
         give a smaller width or fewer classes"
    );
    assert!(v2(16.0, 1000).is_ok() && v2(0.35, 500_000).is_ok());
}

#[test]
fn v1_changes_its_relu6_to_relu_and_v3_refuses() {
    let relu = Spec { activation: Some(Activation::Relu), ..Spec::default() };
    let graph = arch::v1::table().graph(&relu).unwrap();
    let activations = graph.nodes.iter().filter(|n| matches!(n.op, Op::Activation(_)));
    assert_eq!(activations.clone().count(), 27);
    assert!(activations.into_iter().all(|n| n.op == Op::Activation(Activation::Relu)));
    assert_eq!(
        arch::v3::large().graph(&relu).unwrap_err().to_string(),
        "mobilenet_v3_large uses h-swish and relu; only a network with a single activation can change it, others by a table"
    );
}

#[test]
fn v1_with_full_convolutions_costs_4866_million_and_has_29_3_million_parameters() {
    let summary = summary(&example("v1_full_convolution"));
    // The paper's 4866 M lack the classifier's million.
    assert_eq!((summary.multiply_adds - 1024 * 1000) / 1_000_000, 4866);
    assert_eq!(format!("{:.1}", summary.parameters as f64 / 1e6), "29.3");
}

#[test]
fn v1_shallow_costs_307_million_and_has_2_9_million_parameters() {
    let summary = summary(&example("v1_shallow"));
    assert_eq!(summary.multiply_adds / 1_000_000, 307);
    assert_eq!(format!("{:.1}", summary.parameters as f64 / 1e6), "2.9");
}

#[test]
fn v2s_shortcut_ablations_have_as_many_shortcuts_and_equal_parameters() {
    let plain = arch::v2::table().graph(&Spec::default()).unwrap();
    let adds = |graph: &Graph| -> Vec<String> {
        graph.nodes.iter().filter(|n| n.op == Op::Add).map(|n| n.name.clone()).collect()
    };
    assert_eq!(adds(&plain), [3, 5, 6, 8, 9, 10, 12, 13, 15, 16].map(|i| format!("block{i}.add")));
    let wide = example("v2_expansion_shortcut");
    assert_eq!(adds(&wide), [4, 6, 7, 9, 10, 11, 13, 14, 16, 17].map(|i| format!("block{i}.expand.add")));
    assert!(adds(&example("v2_no_shortcut")).is_empty());
    for ablation in ["v2_expansion_shortcut", "v2_no_shortcut", "v2_nonlinear_bottleneck"] {
        assert_eq!(summary(&example(ablation)).parameters, summary(&plain).parameters, "{ablation}");
    }
    assert_eq!(*node(&example("v2_nonlinear_bottleneck"), "block17.project.act"), Op::Activation(Activation::Relu6));
}

#[test]
fn v3s_redesigns_save_10_million_in_the_stem_and_34_million_in_the_last_stage() {
    let plain = summary(&arch::v3::large().graph(&Spec::default()).unwrap()).multiply_adds;
    let saved = |name: &str| (summary(&example(name)).multiply_adds - plain) / 1_000_000;
    // The paper says 10 and 30 (§5.1).
    assert_eq!(saved("v3_stem_32"), 10);
    assert_eq!(saved("v3_original_last_stage"), 34);
    assert_eq!(saved("v3_swish"), 0);
    assert_eq!(*node(&example("v3_swish"), "head.act"), Op::Activation(Activation::Swish));
}

#[test]
fn bad_tables_are_refused_with_the_row_and_what_to_do() {
    let stem = "{operator = 'conv', kernel = 3, out = 32, activation = 'relu', stride = 2}";
    let end = "{operator = 'pool'}, {operator = 'classifier'}";
    let cases = [
        (
            format!("{stem}, {end}, 7"),
            "row 4: invalid type: integer `7`, expected a row such as { operator = \"pool\" }",
        ),
        (
            format!("{stem}, {{operator = 'dense'}}"),
            "row 2: there is no operator \"dense\"; there are conv, separable, bneck, pool, hidden, classifier",
        ),
        (
            format!("{stem}, {{operator = 'pool', size = 7}}"),
            "row 2: unknown field `size`, expected one of `input`, `operator`, `kernel`, `factor`, `expansion`, `out`, `repeat`, `se`, `activation`, `stride`, `shortcut`, `projection`, `shrinks`",
        ),
        (format!("{stem}, {{operator = 'pool', out = 7}}"), "row 2: a pool has no out"),
        ("{operator = 'conv', kernel = 3}".into(), "row 1: a conv needs out"),
        (
            stem.replace("kernel = 3", "kernel = 4"),
            "row 1: kernel is 4; give an odd number, so that the output lies over the input",
        ),
        (stem.replace("kernel = 3", "kernel = 17"), "row 1: kernel is 17; give 1 to 15"),
        (stem.replace("32", "0"), "row 1: out is 0; give 1 to 8192"),
        (stem.replace("32", "-1"), "row 1: invalid value: integer `-1`, expected usize"),
        (stem.replace("stride = 2", "stride = 3"), "row 1: stride is 3; give 1 to 2"),
        (stem.replace("stride = 2", "repeat = 2"), "row 1: only blocks repeat; stem, head and hidden layer are single"),
        (
            stem.replace("'relu'", "'gelu'"),
            "row 1: there is no activation \"gelu\"; there are relu, relu6, h-swish, hard-sigmoid, sigmoid, swish",
        ),
        (end.into(), "row 1: a pool here; a network starts with a conv, its stem"),
        (stem.into(), "the last row is conv; end with pool, classifier"),
        (format!("{stem}, {end}, {stem}"), "row 4: a conv here; convolutions come before the pool"),
        (
            format!("{stem}, {{operator = 'bneck', kernel = 3, out = 8, activation = 'relu'}}"),
            "row 2: a bneck needs factor (times its input) or expansion (channels)",
        ),
        (
            format!(
                "{stem}, {{operator = 'bneck', kernel = 3, out = 8, activation = 'relu', factor = 1, expansion = 1}}"
            ),
            "row 2: factor and expansion; give one of them",
        ),
        (
            format!("{stem}, {{operator = 'bneck', kernel = 3, out = 8, activation = 'relu', factor = 65536}}"),
            "row 2: the expansion is 2097152; give 1 to 65536",
        ),
        (
            format!(
                "{stem}, {{operator = 'separable', kernel = 3, out = 8, activation = 'relu', repeat = 256}}, {end}"
            ),
            "259 blocks with all repeats; at most 256",
        ),
        (
            format!("{}, {{input = [112, 16], operator = 'pool'}}", stem.replace("{o", "{input = [224, 3], o")),
            "row 2: its input says [112, 16] (size, channels), the rows before give [112, 32]",
        ),
        (String::new(), "0 rows; give 1 to 256"),
        (["{}"; 257].join(","), "257 rows; give 1 to 256"),
    ];
    for (rows, text) in cases {
        let error = Table::from_toml(&format!("name = 'mine'\nfamily = 'v2'\nrows = [{rows}]")).unwrap_err();
        assert_eq!(error.to_string(), text, "{rows}");
    }
    let error = Table::from_toml("name = 'mine'\nfamily = 'v4'\nrows = []").unwrap_err();
    assert_eq!(error.to_string(), "there is no family \"v4\"; there are v1, v2, v3");
    let error = Table::from_toml("name = 'mine'\nfamily = 'v2'\nrows = [").unwrap_err().to_string();
    assert!(error.contains("line 3"), "{error}");
    let error =
        Table::from_toml("name = 'mine'\nfamily = 'v2'\ndropout = 1.0\nrows = [{operator = 'pool'}]").unwrap_err();
    assert_eq!(error.to_string(), "dropout is 1; give a number from 0 up to, not including, 1");
}

#[test]
fn bad_table_files_are_refused_with_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let large = write("large.toml", &vec![b'#'; (1 << 20) + 1]);
    let binary = write("binary.toml", &[0xff, 0xfe]);
    let row = write("row.toml", b"name = 'mine'\nfamily = 'v2'\nrows = [{operator = 'pool'}]");
    for (path, reason) in [
        (large, "larger than 1 MiB, which no table of a network is"),
        (binary, "not a text file (UTF-8)"),
        (row, "row 1: a pool here; a network starts with a conv, its stem"),
    ] {
        let error = arch::find(path.to_str().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {reason}", path.display()));
    }
    let missing = folder.path().join("missing.toml");
    assert!(matches!(arch::find(missing.to_str().unwrap()), Err(Error::Io { .. })));
}
