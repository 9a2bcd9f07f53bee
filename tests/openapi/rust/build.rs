//! Generates the client from the OpenAPI document that the variable OPENAPI names.

use std::env;
use std::fs;
use std::path::PathBuf;

use openapi_to_rust::config::BuildersSection;
use openapi_to_rust::{CodeGenerator, GeneratorConfig, SchemaAnalyzer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let document = env::var("OPENAPI")?;
    println!("cargo::rerun-if-env-changed=OPENAPI");
    println!("cargo::rerun-if-changed={document}");
    let document = serde_json::from_str(&fs::read_to_string(document)?)?;
    let mut analysis = SchemaAnalyzer::new(document)?.analyze()?;
    let generator = CodeGenerator::new(GeneratorConfig {
        output_dir: out.clone(),
        enable_sse_client: false,
        tracing_enabled: false,
        builders: BuildersSection {
            enabled: true,
            threshold: 0,
        },
        ..GeneratorConfig::default()
    });
    let client = generator.generate_all(&mut analysis)?;
    generator.write_files(&client)?;
    // The files have inner attributes, which `include!` does not take.
    let path = out.join("mod.rs");
    let module = format!("#[allow(warnings)]\n#[path = {path:?}]\nmod client;\n");
    fs::write(out.join("module.rs"), module)?;
    Ok(())
}
