//! The repository's pages say what is true.

use std::path::{Path, PathBuf};

use mobilenet::arch::{self, Spec, Table};
use mobilenet::net::count::Summary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// 4231976 as 4,231,976.
fn thousands(n: u64) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", thousands(n / 1000), n % 1000) }
}

#[test]
fn the_readme_lists_every_network_with_its_counted_costs() {
    let readme = page("README.md");
    for model in arch::models() {
        let graph = (model.table)().graph(&Spec::default()).unwrap();
        let costs = Summary::new(&graph, 224, 224).unwrap();
        let millions = costs.multiply_adds as f64 / 1e6;
        let row = format!("| `{}` | {} | {millions:.1} M |", model.name, thousands(costs.parameters));
        assert!(readme.contains(&row), "README.md lacks the row {row}");
    }
}

#[test]
fn the_tables_page_holds_a_table_that_is_a_network() {
    let text = page("docs/tables.md");
    let tables: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!tables.is_empty());
    for table in tables {
        let graph = Table::from_toml(table).unwrap().graph(&Spec { width: 0.5, ..Spec::default() }).unwrap();
        Summary::new(&graph, 224, 224).unwrap();
    }
}

#[test]
fn the_tables_page_names_every_example() {
    let text = page("docs/tables.md");
    for entry in std::fs::read_dir(root().join("examples/tables")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("`{name}`")), "docs/tables.md does not name {name}");
    }
}
