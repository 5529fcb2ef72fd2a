//! Parameters and multiply-adds of the three papers' networks against counts of the rebuilt originals.
//!
//! Multiply-adds are compared as printed, to a tenth of a million.

use mobilenet_net::arch::{self, Spec, WidthRule};
use mobilenet_net::count::{Kind, Summary};
use mobilenet_net::{Graph, Op};

fn graph(model: &str, width: f64, width_rule: WidthRule) -> Graph {
    arch::find(model).unwrap().graph(&Spec { width, width_rule, ..Spec::default() }).unwrap()
}

/// (model, width, rule, parameters, [(size, millions of multiply-adds)])
type Case = (&'static str, f64, WidthRule, u64, &'static [(usize, &'static str)]);

fn check(cases: &[Case]) {
    for &(model, width, rule, parameters, sizes) in cases {
        let graph = graph(model, width, rule);
        for &(size, millions) in sizes {
            let summary = Summary::new(&graph, size, size).unwrap();
            assert_eq!(summary.parameters, parameters, "{model} {width} {rule}");
            assert_eq!(
                format!("{:.1}", summary.multiply_adds as f64 / 1e6),
                millions,
                "{model} {width} {rule} at {size}: {}",
                summary.multiply_adds
            );
            let sum: u64 = summary.layers.iter().map(|l| l.parameters).sum();
            assert_eq!(sum, parameters, "{model} {width} {rule}: the layers' parameters do not add up");
        }
    }
}

const TF: WidthRule = WidthRule::TensorFlow;
const TM: WidthRule = WidthRule::Timm;
const TV: WidthRule = WidthRule::Torchvision;

#[test]
fn v1_has_the_papers_parameters_and_multiply_adds() {
    check(&[
        ("mobilenet_v1", 1.0, TF, 4_231_976, &[(224, "568.7"), (192, "418.1"), (160, "290.7"), (128, "186.4")]),
        ("mobilenet_v1", 0.75, TF, 2_585_560, &[(224, "325.4"), (192, "239.3"), (160, "166.4"), (128, "106.8")]),
        ("mobilenet_v1", 0.5, TF, 1_331_592, &[(224, "149.5"), (192, "110.0"), (160, "76.5"), (128, "49.2")]),
        ("mobilenet_v1", 0.25, TF, 470_072, &[(224, "41.0"), (192, "30.2"), (160, "21.1"), (128, "13.6")]),
        ("mobilenet_v1", 0.5, TM, 1_331_592, &[(224, "149.5")]),
        ("mobilenet_v1", 0.5, TV, 1_331_592, &[(224, "149.5")]),
    ]);
}

#[test]
fn v2_has_the_papers_parameters_and_multiply_adds() {
    let full = [(224, "300.8"), (192, "221.3"), (160, "154.1"), (128, "99.1"), (96, "56.3")];
    let third = [(224, "59.3"), (192, "43.9"), (160, "30.9"), (128, "20.2"), (96, "11.9")];
    // Every rule gives the same V2.
    for rule in [TF, TM, TV] {
        check(&[
            ("mobilenet_v2", 1.4, rule, 6_108_776, &[(224, "582.2")]),
            ("mobilenet_v2", 1.3, rule, 5_386_792, &[(224, "509.4")]),
        ]);
        for (width, parameters, sizes) in [
            (1.0, 3_504_872, full),
            (0.75, 2_636_424, [(224, "209.1"), (192, "153.9"), (160, "107.3"), (128, "69.1"), (96, "39.4")]),
            (0.5, 1_968_680, [(224, "97.1"), (192, "71.7"), (160, "50.2"), (128, "32.6"), (96, "18.9")]),
            (0.35, 1_677_128, third),
        ] {
            let graph = graph("mobilenet_v2", width, rule);
            for (size, millions) in sizes {
                let summary = Summary::new(&graph, size, size).unwrap();
                assert_eq!(summary.parameters, parameters, "{width} {rule}");
                assert_eq!(format!("{:.1}", summary.multiply_adds as f64 / 1e6), millions, "{width} {rule} {size}");
            }
        }
    }
}

/// Close to the rounding: Small has 29.847 M at 160, 19.848 M at 128, and 21.053 M at width 0.5.
#[test]
fn v3_has_the_papers_parameters_and_multiply_adds() {
    check(&[
        (
            "mobilenet_v3_large",
            1.0,
            TF,
            5_483_032,
            &[(256, "281.7"), (224, "216.6"), (192, "160.2"), (160, "112.5"), (128, "73.4"), (96, "43.1")],
        ),
        ("mobilenet_v3_large", 1.25, TF, 7_551_976, &[(224, "355.2")]),
        ("mobilenet_v3_large", 0.75, TF, 3_993_528, &[(224, "154.6")]),
        ("mobilenet_v3_large", 0.5, TF, 2_689_520, &[(224, "69.2")]),
        ("mobilenet_v3_large", 0.35, TF, 2_131_832, &[(224, "39.5")]),
        (
            "mobilenet_v3_small",
            1.0,
            TF,
            2_542_856,
            &[(256, "73.2"), (224, "56.5"), (160, "29.8"), (128, "19.8"), (96, "12.1")],
        ),
        ("mobilenet_v3_small", 1.25, TF, 3_205_384, &[(224, "90.8")]),
        ("mobilenet_v3_small", 0.75, TF, 2_041_872, &[(224, "43.4")]),
        ("mobilenet_v3_small", 0.5, TF, 1_592_704, &[(224, "21.1")]),
        ("mobilenet_v3_small", 0.35, TF, 1_358_288, &[(224, "12.8")]),
        ("mobilenet_v3_large_minimal", 1.0, TF, 3_924_288, &[(224, "209.1")]),
        ("mobilenet_v3_small_minimal", 1.0, TF, 2_044_736, &[(224, "52.3")]),
    ]);
}

#[test]
fn timms_rule_fixes_v3s_stem_below_width_075_only() {
    check(&[
        ("mobilenet_v3_large", 1.0, TM, 5_483_032, &[(224, "216.6")]),
        ("mobilenet_v3_large", 0.75, TM, 3_993_528, &[(224, "154.6")]),
        ("mobilenet_v3_small", 0.75, TM, 2_041_872, &[(224, "43.4")]),
        ("mobilenet_v3_small", 0.5, TM, 1_593_224, &[(224, "24.2")]),
    ]);
}

#[test]
fn torchvisions_rule_scales_expansions_and_the_hidden_layer() {
    check(&[
        ("mobilenet_v3_large", 1.0, TV, 5_483_032, &[(224, "216.6")]),
        ("mobilenet_v3_large", 0.75, TV, 3_377_576, &[(224, "140.0")]),
        ("mobilenet_v3_large", 0.5, TV, 1_734_576, &[(224, "65.0")]),
        ("mobilenet_v3_small", 1.0, TV, 2_542_856, &[(224, "56.5")]),
        ("mobilenet_v3_small", 0.75, TV, 1_653_920, &[(224, "39.1")]),
        ("mobilenet_v3_small", 0.5, TV, 917_264, &[(224, "19.0")]),
    ]);
}

#[test]
fn v3_large_at_width_075_has_each_rules_expansions_and_the_same_outputs() {
    let widths = |rule, part: &str| -> Vec<usize> {
        let graph = graph("mobilenet_v3_large", 0.75, rule);
        (1..=15).map(|i| graph[graph.find(&format!("block{i}{part}")).unwrap()].channels).collect()
    };
    let tensorflow = [16, 64, 72, 72, 96, 96, 192, 160, 144, 144, 384, 528, 528, 720, 720];
    let torchvision = [16, 48, 56, 56, 88, 88, 184, 152, 136, 136, 360, 504, 504, 720, 720];
    assert_eq!(widths(TF, ".depthwise"), tensorflow);
    assert_eq!(widths(TM, ".depthwise"), tensorflow);
    assert_eq!(widths(TV, ".depthwise"), torchvision);
    for rule in [TF, TM, TV] {
        assert_eq!(widths(rule, ""), [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 88, 88, 120, 120, 120]);
    }
}

#[test]
fn v3s_last_convolution_is_a_multiple_of_its_input_in_torchvision_only() {
    for (rule, channels) in [(TF, 200), (TM, 200), (TV, 192)] {
        let graph = graph("mobilenet_v3_small", 0.35, rule);
        assert_eq!(graph[graph.find("head").unwrap()].channels, channels, "{rule}");
    }
}

#[test]
fn v2s_head_grows_but_never_shrinks() {
    for (width, channels) in [(0.35, 1280), (1.0, 1280), (1.3, 1664), (1.4, 1792)] {
        let graph = graph("mobilenet_v2", width, TF);
        assert_eq!(graph[graph.find("head").unwrap()].channels, channels, "{width}");
    }
}

#[test]
fn v1s_shares_are_the_papers_table_2_with_191_for_its_misprinted_119() {
    let share = Summary::new(&graph("mobilenet_v1", 1.0, TF), 224, 224).unwrap().share;
    let percent = |s: mobilenet_net::count::Share| (format!("{:.2}", s.multiply_adds), format!("{:.2}", s.parameters));
    let expect = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(percent(share.pointwise), expect("94.86", "74.59"));
    assert_eq!(percent(share.depthwise), expect("3.06", "1.06"));
    assert_eq!(percent(share.convolution), expect("1.91", "0.02"));
    assert_eq!(percent(share.fully_connected), expect("0.18", "24.33"));
}

#[test]
fn a_depthwise_pair_costs_one_over_n_plus_one_over_k_squared_of_the_full_convolution() {
    let summary = Summary::new(&graph("mobilenet_v1", 1.0, TF), 224, 224).unwrap();
    let pairs: Vec<_> = summary.layers.windows(2).filter(|w| w[0].kind == Kind::Depthwise).collect();
    assert_eq!(pairs.len(), 13);
    for pair in pairs {
        let full = pair[0].as_convolution.unwrap();
        let cost = (pair[0].multiply_adds + pair[1].multiply_adds) as f64;
        assert!((cost / full.multiply_adds as f64 - full.factor).abs() < 1e-12, "{}", pair[0].name);
    }
    // V3's excite lies between depthwise and projection, and is passed over.
    let summary = Summary::new(&graph("mobilenet_v3_small", 1.0, TF), 224, 224).unwrap();
    let first = summary.layers.iter().find(|l| l.name == "block1.depthwise.conv").unwrap();
    assert_eq!(first.operator, "dw3x3, s2");
    assert_eq!((first.input, first.output), ([112, 112, 16], [56, 56, 16]));
    assert_eq!(first.as_convolution.unwrap().multiply_adds, 9 * 16 * 16 * 56 * 56);
}

#[test]
fn the_summarys_json_has_the_documented_keys() {
    let summary = Summary::new(&graph("mobilenet_v1", 0.25, TF), 128, 128).unwrap();
    let json = serde_json::to_value(&summary).unwrap();
    let keys = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["layers", "multiply_adds", "parameters", "share"]);
    assert_eq!(keys(&json["share"]), ["convolution", "depthwise", "fully_connected", "pointwise"]);
    assert_eq!(keys(&json["share"]["pointwise"]), ["multiply_adds", "parameters"]);
    assert_eq!(json["parameters"], 470_072);
    assert_eq!(json["layers"][0]["operator"], "conv2d 3x3, s2");
    assert_eq!(json["layers"][0]["kind"], "convolution");
}

#[test]
fn the_largest_accepted_shapes_are_counted_without_overflow() {
    let mut table = arch::v1::table();
    table.rows.truncate(1);
    table.rows[0] = arch::Row { input: None, kernel: 15, out: 1024, stride: 1, ..table.rows[0] };
    table.rows.extend([arch::Row::new(arch::Operator::Pool), arch::Row::new(arch::Operator::Classifier)]);
    let spec = Spec { input_channels: 4096, ..Spec::default() };
    let graph = table.graph(&spec).unwrap();
    let summary = Summary::new(&graph, 512, 512).unwrap();
    assert_eq!(summary.layers[0].multiply_adds, 15 * 15 * 4096 * 1024 * 512 * 512);
    assert!(graph.infer(1, 512, 1024).is_err(), "2^31 elements were accepted");
}

#[test]
fn a_convolution_before_batch_norm_has_no_bias() {
    for model in arch::models() {
        let graph = graph(model.name, 1.0, TF);
        for node in &graph.nodes {
            if let Op::BatchNorm { .. } = node.op {
                let before = &graph[node.inputs[0]].op;
                assert!(
                    matches!(before, Op::Convolution { bias: false, .. } | Op::Depthwise { bias: false, .. }),
                    "{}: {} follows {before:?}",
                    model.name,
                    node.name
                );
            }
        }
    }
}
