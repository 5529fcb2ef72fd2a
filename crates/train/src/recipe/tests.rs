use std::fs;
use std::path::PathBuf;

use mobilenet_net::arch::{Spec, find};

use super::*;

fn recipes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn recipe(name: &str) -> Recipe {
    Recipe::from_file(&recipes().into_iter().find(|p| p.file_stem().unwrap() == name).unwrap()).unwrap()
}

#[test]
fn every_recipe_of_ours_is_read_and_comes_back() {
    assert!(recipes().len() >= 5);
    for path in recipes() {
        let recipe = Recipe::from_file(&path).unwrap();
        assert_eq!(Recipe::from_toml(&recipe.to_toml()).unwrap(), recipe, "{}", path.display());
        let Recipe { width, width_rule, total_stride, resolution, batch, .. } = recipe;
        let spec = Spec { width, width_rule, total_stride, ..Spec::default() };
        let graph = find(&recipe.model).unwrap().graph(&spec).unwrap();
        graph.infer(batch, resolution, resolution).unwrap();
    }
}

#[test]
fn the_papers_rates_fall_as_they_say() {
    let near = |ours: f64, right: f64| assert!((ours / right - 1.0).abs() < 1e-12, "{ours} is not {right}");
    let v1 = recipe("v1");
    near(v1.schedule().rate(5.1, v1.epochs), 0.045 * 0.94f64.powi(2));
    let v2 = recipe("v2");
    near(v2.schedule().rate(10.0, v2.epochs), 0.045 * 0.98f64.powi(4));
    assert_eq!((v2.settings().eps, v2.settings().alpha, v2.settings().decay_depthwise), (1.0, 0.9, false));
    let v3 = recipe("v3");
    assert_eq!(v3.batch * v3.accumulate, 4096);
    near(v3.schedule().rate(v3.schedule.warmup + 6.0, v3.epochs), 0.1 * 0.99f64.powi(2));
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(Recipe::from_toml("").unwrap(), Recipe::default());
    let default = Recipe::default();
    assert_eq!(
        default.schedule(),
        Schedule { peak: 0.05, warmup: 0.0, warmup_from: 0.0, fall: Fall::Cosine { floor: 0.0 } }
    );
    let settings = Settings { weight_decay: 4e-5, ..Settings::new(OptimizerKind::Sgd) };
    assert_eq!(default.settings(), settings);
}

#[test]
fn every_key_can_be_set_to_the_value_that_it_has() {
    for path in recipes() {
        let given = Recipe::from_file(&path).unwrap();
        let table = toml::Table::try_from(&given).unwrap();
        let mut set = Recipe::default();
        for key in Recipe::keys() {
            let value = key.split('.').try_fold(&toml::Value::Table(table.clone()), |v, part| v.get(part)).cloned();
            match value {
                Some(value) => set.set(&key, &value.to_string()).unwrap(),
                None if key.starts_with("teacher.") => {}
                None => set.set(&key, "none").unwrap(),
            }
        }
        assert_eq!(set, given, "{}", path.display());
    }
}

#[test]
fn the_guide_lists_every_key_with_its_default() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/training.md")).unwrap();
    // Rows of three cells, the first two of which are code.
    let cells = |line: &str| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split("` | ").collect();
        (cells.len() == 3).then(|| (cells[0].to_owned(), cells[1].trim_start_matches('`').to_owned()))
    };
    let mut listed: Vec<_> = guide.lines().filter_map(cells).collect();
    listed.sort();
    let default = Recipe::default();
    let mut keys: Vec<_> = Recipe::keys().into_iter().map(|key| (key.clone(), default.get(&key).unwrap())).collect();
    keys.sort();
    // A teacher's settings have defaults of their own, once there is one.
    let teacher = Recipe { teacher: Some(Teacher::default()), ..Recipe::default() };
    for (key, value) in keys.iter_mut().filter(|(key, _)| key.starts_with("teacher.") && key != "teacher.weights") {
        *value = teacher.get(key).unwrap();
    }
    assert_eq!(listed, keys);
}

#[test]
fn values_are_read_as_people_write_them() {
    let mut r = Recipe::default();
    for (key, value) in [
        ("lr", "1"),
        ("epochs", "12.5"),
        ("model", "my table.toml"),
        ("width_rule", "torchvision"),
        ("freeze", "stem, block1."),
        ("augmentation.scale", "[0.5, 1]"),
        ("resolutions", "[[0, 128], [5, 160]]"),
        ("augmentation.auto", "randaugment"),
        ("augmentation.crop", "none"),
        ("augmentation.randaugment.n", "3"),
        ("optimizer.kind", "rmsprop_tf"),
        ("optimizer.eps", "1e-3"),
        ("average", "0.999"),
        ("clip_norm", "2"),
        ("teacher.weights", "teacher.safetensors"),
        ("teacher.temperature", "2"),
        ("seed", "9223372036854775807"),
    ] {
        r.set(key, value).unwrap();
    }
    assert_eq!((r.lr, r.epochs, r.model.as_str(), r.width_rule), (1.0, 12.5, "my table.toml", WidthRule::Torchvision));
    assert_eq!((&r.freeze[..], r.augmentation.scale), (&["stem".to_owned(), "block1.".into()][..], [0.5, 1.0]));
    assert_eq!((r.augmentation.auto, r.augmentation.crop), (Auto::Randaugment, Crop::None));
    assert_eq!((r.augmentation.randaugment, r.optimizer.eps), (RandAugment { n: 3, m: 9.0 }, Some(1e-3)));
    assert_eq!((r.average, r.clip_norm, r.seed), (Some(0.999), Some(2.0), i64::MAX as u64));
    assert_eq!(r.teacher, Some(Teacher { weights: "teacher.safetensors".into(), temperature: 2.0, mix: 0.7 }));
    assert_eq!([0, 4, 5, 12].map(|epoch| r.resolution_in(epoch)), [128, 128, 160, 160]);
    r.set("resolutions", "[[5, 160]]").unwrap();
    assert_eq!([4, 5].map(|epoch| r.resolution_in(epoch)), [224, 160]);
    r.set("average", "none").unwrap();
    r.set("freeze", "").unwrap();
    assert_eq!((r.average, r.freeze.len()), (None, 0));
    r.check().unwrap();
}

#[test]
fn wrong_settings_are_refused_by_name_and_change_nothing() {
    let cases = [
        ("lr", "-1", "lr is -1; give a number above 0, at most 1000"),
        ("lr", "nan", "lr is NaN; give a number above 0, at most 1000"),
        ("lr", "fast", "lr cannot be \"fast\": invalid type: string \"fast\", expected f64"),
        ("average", "1", "average is 1; give a number from 0, below 1"),
        ("seed", "9223372036854775808", "seed cannot be"),
        ("batch", "0", "batch is 0; give a number above 0, at most 65536"),
        ("augmentation.flip", "1.5", "augmentation.flip is 1.5; give a number from 0 to 1"),
        ("resolutions", "[[5,128],[5,160]]", "resolutions must be pairs of an epoch and pixels, earlier epochs first"),
        ("resolutions", "[[0,0]]", "resolutions is 0; give a number above 0, at most 8192"),
        ("augmentation.scale", "1,0.5", "augmentation.scale is [1, 0.5]; give the smaller number first"),
        ("total_stride", "4", "total_stride is 4; give 32, 16 or 8"),
        ("width_rule", "slim", "there is no width rule \"slim\"; there are tensorflow, timm, torchvision, keras"),
        ("momentum", "0.9", "there is no setting momentum; did you mean bn_momentum or optimizer.momentum?"),
        ("teacher", "x", "there is no setting teacher; did you mean teacher."),
        ("epohcs", "1", "there is no setting epohcs; did you mean epochs?"),
        ("optimiser.momentun", "1", "there is no setting optimiser.momentun; did you mean optimizer.momentum?"),
        ("", "1", "there is no setting ; there are "),
        ("optimizer.kind", "adam", "unknown variant `adam`, expected one of `sgd`, `rmsprop`, `rmsprop_tf`, `adamw`"),
        ("freeze", "[\"\"]", "freeze has an empty name"),
    ];
    let mut recipe = Recipe::default();
    for (key, value, text) in cases {
        let error = recipe.set(key, value).unwrap_err().to_string();
        assert!(error.contains(text), "{key} = {value}: {error}");
    }
    assert_eq!(recipe, Recipe::default());
}

#[test]
fn the_cache_is_a_number_of_megabytes_or_left_to_the_program() {
    let mut recipe = Recipe::default();
    for (text, cache) in [("0", Cache::Megabytes(0)), ("2048", Cache::Megabytes(2048)), ("auto", Cache::Auto)] {
        recipe.set("cache", text).unwrap();
        assert_eq!((recipe.cache, recipe.get("cache").unwrap()), (cache, text.to_owned()));
        assert_eq!(Recipe::from_toml(&recipe.to_toml()).unwrap(), recipe);
    }
    for wrong in ["-1", "half", "1.5", "1073741825"] {
        let message = recipe.set("cache", wrong).unwrap_err().to_string();
        assert!(message.contains("give auto, or a number of megabytes from 0 to 1073741824"), "{message}");
    }
    recipe.set("cache", "3").unwrap();
    assert_eq!(recipe.training_photos(0, 2).cache_bytes, 3 << 20);
}

#[test]
fn contradictions_and_misspelt_keys_of_a_file_are_named() {
    let cases = [
        ("epochs = 3\nresolutions = [[0, 96], [3, 128]]", "resolutions begin with epoch 3, and epochs is 3"),
        ("epochs = 3\nschedule.warmup = 5", "schedule.warmup is 5 epochs, and epochs is 3"),
        ("loss = \"binary\"\n[teacher]\nweights = \"x\"", "teacher belongs to loss = \"cross_entropy\""),
        (
            "bn_reestimate = 64\nbn_statistics = \"frozen\"",
            "bn_reestimate changes what bn_statistics = \"frozen\" keeps",
        ),
        ("sampling = \"balanced\"\nclass_weights = \"balanced\"", "sampling and class_weights are both \"balanced\""),
        ("optimizer = { momentum = 0, nesterov = true }", "optimizer.nesterov needs optimizer.momentum above 0"),
        ("[teacher]\nmix = 0.5", "teacher.weights is missing: give the teacher's weights file"),
        ("lr = 1.0\nepohcs = 3", "line 2: there is no setting epohcs; did you mean epochs?"),
        (
            "[optimizer]\nmomentun = 0.9",
            "line 2: there is no setting optimizer.momentun; did you mean optimizer.momentum?",
        ),
        (
            "[optimizer]\nxyz = 0.9",
            "line 2: there is no setting optimizer.xyz; there are accumulate, augmentation.auto",
        ),
        ("optimizer = 3", "line 1"),
        ("lr = \"fast\"", "line 1"),
        ("seed = -1", "seed"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    for (text, reason) in cases {
        fs::write(&path, text).unwrap();
        let error = Recipe::from_file(&path).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()) && error.contains(reason), "{text}: {error}");
    }
}
