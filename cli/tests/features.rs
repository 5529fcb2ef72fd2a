//! What features are good for: `embed`, `similar`, `explain`.

mod common;

use common::{Folder, photo, small};
use mobilenet::Image;
use mobilenet::run::Embeddings;
use serde_json::{Value, json};

fn folder() -> Folder {
    let folder = Folder::new();
    folder.weights("v3.safetensors", "mobilenet_v3_small", &small());
    std::fs::create_dir(folder.path("photos")).unwrap();
    for i in 0..5 {
        folder.write(&format!("photos/p{i}.bmp"), photo(80 + i, 70, 3 * i + 1));
    }
    folder
}

#[test]
fn embeddings_are_the_networks_features_whatever_the_threads() {
    let folder = folder();
    let weights = "--weights v3.safetensors";
    for (features, len) in [("pooled", 200), ("hidden", 1024)] {
        let flags = format!("embed photos {weights} --features {features} --json");
        for threads in [1, 3] {
            let ended = folder.run(&format!("{flags} -o {threads}.safetensors --threads {threads}"));
            let [report] = &ended.json()[..] else { panic!("one object") };
            assert_eq!((&report["photos"], &report["features"]), (&json!(5), &json!(len)), "{report}");
        }
        let [one, three] =
            ["1", "3"].map(|name| Embeddings::open(&folder.path(&format!("{name}.safetensors"))).unwrap());
        assert_eq!(one, three);
        assert_eq!(one.names, (0..5).map(|i| format!("photos/p{i}.bmp")).collect::<Vec<_>>());
    }
    let ended = folder.run(&format!("embed photos {weights} -o all.npy"));
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    assert_eq!(std::fs::metadata(folder.path("all.npy")).unwrap().len(), 128 + 5 * 200 * 4);
    folder.weights("v2.safetensors", "mobilenet_v2", &small());
    folder.refused(
        "embed photos --weights v2.safetensors --features hidden -o a.csv",
        "mobilenet_v2 has no hidden layer, only V3 has one: take pooled features",
    );
}

#[test]
fn broken_photos_are_named_and_the_rest_embedded() {
    let folder = folder();
    folder.write("photos/broken.jpg", b"\xff\xd8\xff");
    let ended = folder.run("embed photos --weights v3.safetensors -o all.csv");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.starts_with("error: photos/broken.jpg: "), "{ended:?}");
    assert_eq!(std::fs::read_to_string(folder.path("all.csv")).unwrap().lines().count(), 6);
}

#[test]
fn the_most_similar_photo_is_a_copy_and_never_the_photo_itself() {
    let folder = folder();
    std::fs::copy(folder.path("photos/p2.bmp"), folder.path("photos/again.bmp")).unwrap();
    assert_eq!(folder.run("embed photos --weights v3.safetensors -o all.safetensors").code, 0);
    for among in ["photos", "all.safetensors"] {
        let flags = "--weights v3.safetensors --top 3 --json --draw sheet.png";
        let found = folder.run(&format!("similar photos/p2.bmp {among} {flags}")).json();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0]["path"], "photos/again.bmp");
        assert!(found[0]["cosine"].as_f64().unwrap() > 0.999_99);
        assert!(found.iter().all(|photo| photo["path"] != "photos/p2.bmp"));
        assert!(found.is_sorted_by_key(|photo| -photo["cosine"].as_f64().unwrap()));
        let sheet = Image::open(folder.path("sheet.png")).unwrap();
        assert!(sheet.width > 4 * 160 && sheet.height > 160, "{}×{}", sheet.width, sheet.height);
    }
    for flag in ["--mean 0.3", "--bn-epsilon 0.5", "--output-stride 8"] {
        let ended = folder.run(&format!("similar photos/p2.bmp all.safetensors --weights v3.safetensors {flag}"));
        assert_eq!(ended.code, 2, "{ended:?}");
        let text = "its vectors are pooled features of mobilenet_v3_small, width 0.35, fingerprint ";
        assert!(ended.err.contains(text), "{ended:?}");
    }
    let before = std::fs::read(folder.path("photos/p1.bmp")).unwrap();
    std::fs::copy(folder.path("photos/p1.bmp"), folder.path("photos/victim.png")).unwrap();
    assert_eq!(folder.run("embed photos --weights v3.safetensors -o all.safetensors").code, 0);
    folder.refused(
        "similar photos/p2.bmp all.safetensors --weights v3.safetensors --draw photos/victim.png",
        "photos/victim.png: the output would replace what is read; give another name",
    );
    assert_eq!(std::fs::read(folder.path("photos/victim.png")).unwrap(), before);
    folder.refused(
        "similar photos/p2.bmp photos/p1.bmp --weights v3.safetensors",
        "photos/p1.bmp: it holds no embeddings; `mobilenet embed -o FILE.safetensors` writes them",
    );
    folder.weights("v2.safetensors", "mobilenet_v2", &small());
    folder.refused(
        "similar photos/p2.bmp all.safetensors --weights v2.safetensors",
        "all.safetensors: its vectors have 200 values, and these weights give 1280: they are of another network",
    );
}

#[test]
fn an_explanation_is_a_picture_of_the_photos_size_and_a_map() {
    let folder = folder();
    let ended = folder.run("explain photos/p1.bmp --weights v3.safetensors -o why.png --class 2 --json");
    let [report] = &ended.json()[..] else { panic!("one object") };
    assert_eq!((&report["class"], &report["label"], &report["size"]), (&json!(2), &json!("class 2"), &json!([2, 2])));
    let map: Vec<f64> = report["map"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(map.len() == 4 && map.iter().all(|v| (0.0..=1.0).contains(v)), "{map:?}");
    let picture = Image::open(folder.path("why.png")).unwrap();
    assert_eq!((picture.width, picture.height), (81, 70));

    let best: Value = folder.run("classify photos/p1.bmp --weights v3.safetensors --json --top 1").json()[0].clone();
    let best = &best["top"][0];
    let report = folder.run("explain photos/p1.bmp --weights v3.safetensors -o why.jpg --json").json()[0].clone();
    assert_eq!((&report["class"], &report["probability"]), (&best["class"], &best["probability"]));
    folder.refused(
        "explain photos/p1.bmp --weights v3.safetensors -o why.png --class owl",
        "there is no class \"owl\"; give one of the 4 names as it is written, or a number below 4",
    );
    folder.refused(
        "explain photos/p1.bmp --weights v3.safetensors -o why.gif",
        "why.gif: pictures are written as .png, .jpg or .webp; give such a name",
    );
}
