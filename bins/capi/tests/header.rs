//! The header that C programs include is what cbindgen makes of the sources.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// In the order of the header.
const SOURCES: [&str; 5] = ["border", "map", "site", "session", "decision"];

fn generated() -> String {
    let here = Path::new(HERE);
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = SOURCES.iter().fold(builder, |builder, name| {
        builder.with_src(here.join(format!("src/{name}.rs")))
    });
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_header_is_made_of_the_sources() {
    let path = Path::new(HERE).join("include/libmaps.h");
    let made = generated();
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    assert_eq!(made, kept, "UPDATE_GOLDENS=1 rewrites {}", path.display());
}

/// Compiles a text of some lines against the header, and links nothing.
fn accepts(compiler: &str, language: &[&str], text: &str) {
    let mut command = Command::new(compiler);
    command
        .args(language)
        .args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(Path::new(HERE).join("include"))
        .arg("-")
        .stdin(Stdio::piped());
    let mut compiling = match command.spawn() {
        Ok(compiling) => compiling,
        Err(error) => return eprintln!("skipped: {compiler}: {error}"),
    };
    let mut input = compiling.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let status = compiling.wait().unwrap();
    assert!(status.success(), "{compiler} {language:?}: {text}");
}

/// What programs in C may have been written with, since MAPS_API_VERSION 1.
const PROGRAM: &str = "#include <libmaps.h>\n#include <libmaps.h>\n\
    static enum maps_status (*const look)(maps_map *, const void *, size_t, char **, size_t *) =\n\
    maps_lookup;\n\
    static enum maps_action act(const struct maps_decision *decision) {\n\
    return maps_decision_action(decision); }\n\
    int main(void) {\n\
    struct maps_map *map = NULL; char *value = NULL;\n\
    enum maps_status status = look(map, \"\", 0, &value, NULL);\n\
    return status == MAPS_USAGE && act(NULL) == MAPS_REFUSE && MAPS_API_VERSION == 1; }\n";

#[test]
fn old_c_and_new_c_and_cplusplus_take_it() {
    accepts("cc", &["-x", "c", "-std=c90"], PROGRAM);
    accepts("cc", &["-x", "c", "-std=c17", "-Wpedantic"], PROGRAM);
    accepts("c++", &["-x", "c++", "-std=c++11", "-Wpedantic"], PROGRAM);
}
