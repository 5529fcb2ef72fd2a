//! Bad photos and bad tables: the exact text, the exit code, no panic and no hang.

mod common;

use common::{Ended, Folder, photo, small};

fn folder() -> Folder {
    let folder = Folder::new();
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    folder
}

const CLASSIFY: &str = "classify --weights w.safetensors";

/// The first bytes of a PNG that claims a size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend(b"\x08\x02\0\0\0\0\0\0\0");
    bytes
}

#[test]
fn broken_photos_are_refused() {
    let folder = folder();
    let good = photo(40, 30, 1);
    let mut wide = good.clone();
    wide[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    wide[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    for (name, bytes, text) in [
        ("empty.jpg", vec![], "the file is empty"),
        (
            "cut.bmp",
            good[..1000].to_vec(),
            "the file ends after 1000 bytes, before its BMP data does; the photo is truncated, copy or download it \
             again",
        ),
        (
            "head.bmp",
            good[..10].to_vec(),
            "this is no photo format that is known; photos are read from JPEG, PNG, WebP, BMP and GIF",
        ),
        (
            "wide.bmp",
            wide,
            "60000×60000 pixels are more than a photo may have (100 megapixels, 65535 a side); make it smaller first",
        ),
        (
            "text.jpg",
            b"not a photo".to_vec(),
            "this is a text file; photos are read from JPEG, PNG, WebP, BMP and \
                                               GIF",
        ),
        (
            "head.jpg",
            b"\xff\xd8\xff\xe0\0\x10JFIF\0".to_vec(),
            "the file ends after 11 bytes, before its JPEG data does; the photo is truncated, copy or download it \
             again",
        ),
        (
            "bomb.png",
            png(1 << 30, 1 << 30),
            "1073741824×1073741824 pixels are more than a photo may have (100 megapixels, 65535 a side); make it \
             smaller first",
        ),
        ("zero.png", png(0, 5), "the photo is 0 pixels wide or high"),
        (
            "head.gif",
            b"GIF89a\x05\0\x05\0".to_vec(),
            "the file ends after 10 bytes, before its GIF data does; the photo is truncated, copy or download it \
             again",
        ),
        (
            "clip.mp4",
            b"\0\0\0\x1cftypisom\0\0\x02\0".to_vec(),
            "this is a video (cut it into photos first, as by ffmpeg -i FILE frame-%05d.png); photos are read from JPEG, \
             PNG, WebP, BMP and GIF",
        ),
        ("page.webp", b"<html>".to_vec(), "this is a web page; photos are read from JPEG, PNG, WebP, BMP and GIF"),
    ] {
        folder.write(name, bytes);
        folder.refused(&format!("{CLASSIFY} {name}"), &format!("{name}: {text}"));
    }
    folder.refused(&format!("{CLASSIFY} none.jpg"), "none.jpg: No such file or directory (os error 2)");
    std::fs::create_dir(folder.path("nothing")).unwrap();
    folder.refused(
        &format!("{CLASSIFY} nothing"),
        "nothing: the folder holds no photo (jpg, jpeg, jpe, jfif, png, webp, bmp, gif)",
    );
    folder.refused(
        &format!("{CLASSIFY} none.jpg empty.jpg"),
        "none.jpg: No such file or directory (os error 2)\nerror: empty.jpg: the file is empty\nerror: none of 2 \
         inputs could be classified",
    );
}

#[test]
fn garbage_on_standard_input_is_refused() {
    let folder = folder();
    for (bytes, text) in [
        (&b"garbage"[..], "-: this is a text file; photos are read from JPEG, PNG, WebP, BMP and GIF"),
        (b"", "-: the file is empty"),
        (
            b"\x89PNG\r\n\x1a\n",
            "-: the file ends after 8 bytes, before its PNG data does; the photo is truncated, copy or download it \
             again",
        ),
    ] {
        let ended = folder.run_with(&format!("{CLASSIFY} -"), &[], bytes);
        assert_eq!(ended, Ended { code: 2, out: String::new(), err: format!("error: {text}\n") });
    }
}

#[test]
fn lists_of_names_that_do_not_fit_are_refused() {
    let folder = folder();
    folder.write("photo.bmp", photo(40, 30, 1));
    folder.write("three.txt", "cat\ndog\nowl\n");
    folder.write("bytes.txt", b"\xff\xfe\0");
    let labels = |name: &str| format!("{CLASSIFY} photo.bmp --labels {name}");
    folder.refused(
        &labels("three.txt"),
        "three.txt: 3 names for 4 classes; one a line is needed, with or without a first line `background`",
    );
    folder.refused(&labels("bytes.txt"), "bytes.txt: stream did not contain valid UTF-8");
    folder.refused(&labels("none.txt"), "none.txt: No such file or directory (os error 2)");
}

#[test]
fn broken_tables_are_refused() {
    let folder = folder();
    let table = |rows: &str| format!("name = \"t\"\nfamily = \"v2\"\nrows = [\n{rows}\n]\n");
    let stem = "{ operator = \"conv\", kernel = 3, out = 8, activation = \"relu6\", stride = 2 },";
    let end = "{ operator = \"pool\" },\n{ operator = \"classifier\" },";
    let block = |block: &str| table(&format!("{stem}\n{{ operator = \"bneck\", {block} }},\n{end}"));
    for (name, toml, text) in [
        ("empty.toml", String::new(), "TOML parse error at line 1, column 1\n  |\n1 | \n  | ^\nmissing field `name`"),
        (
            "syntax.toml",
            "name = ".into(),
            "TOML parse error at line 1, column 8\n  |\n1 | name = \n  |        ^\nstring values must be quoted, \
             expected literal string",
        ),
        (
            "family.toml",
            "name = \"t\"\nfamily = \"v7\"\nrows = []\n".into(),
            "there is no family \"v7\"; there are v1, v2, v3",
        ),
        ("rows.toml", table(""), "0 rows; give 1 to 256"),
        (
            "order.toml",
            table(&format!("{end}\n{stem}")),
            "row 1: a pool here; a network starts with a conv, its \
                                                          stem",
        ),
        ("end.toml", table(stem), "the last row is conv; end with pool, classifier"),
        (
            "operator.toml",
            table("{ operator = \"attention\" }"),
            "row 1: there is no operator \"attention\"; there are conv, separable, bneck, pool, hidden, classifier",
        ),
        (
            "column.toml",
            table("{ operator = \"conv\", heads = 4 }"),
            "row 1: unknown field `heads`, expected one of `input`, `operator`, `kernel`, `factor`, `expansion`, \
             `out`, `repeat`, `se`, `activation`, `stride`, `shortcut`, `projection`, `shrinks`",
        ),
        ("needs.toml", table("{ operator = \"conv\", kernel = 3 }"), "row 1: a conv needs out"),
        (
            "even.toml",
            block("kernel = 4, factor = 6, out = 8, activation = \"relu6\""),
            "row 2: kernel is 4; give an odd number, so that the output lies over the input",
        ),
        (
            "activation.toml",
            block("kernel = 3, factor = 6, out = 8, activation = \"gelu\""),
            "row 2: there is no activation \"gelu\"; there are relu, relu6, h-swish, hard-sigmoid, sigmoid, swish",
        ),
        (
            "zero.toml",
            block("kernel = 3, factor = 6, out = 0, activation = \"relu6\""),
            "row 2: out is 0; give 1 to 8192",
        ),
        (
            "huge.toml",
            block("kernel = 3, factor = 6, out = 99999999, activation = \"relu6\""),
            "row 2: out is 99999999; give 1 to 8192",
        ),
        (
            "repeat.toml",
            block("kernel = 3, factor = 6, out = 8, activation = \"relu6\", repeat = 100000"),
            "row 2: repeat is 100000; give 1 to 256",
        ),
        (
            "negative.toml",
            block("kernel = 3, factor = -6, out = 8, activation = \"relu6\""),
            "row 2: invalid value: integer `-6`, expected usize",
        ),
    ] {
        folder.write(name, toml);
        folder.refused(&format!("bench {name} --seconds 0"), &format!("{name}: {text}"));
    }
    folder.write("bytes.toml", b"\xff\xfe\0");
    folder.refused("bench bytes.toml", "bytes.toml: not a text file (UTF-8)");
    folder.write("long.toml", vec![b'#'; 2 << 20]);
    folder.refused("bench long.toml", "long.toml: larger than 1 MiB, which no table of a network is");
    folder.refused("bench none.toml", "none.toml: No such file or directory (os error 2)");
}
