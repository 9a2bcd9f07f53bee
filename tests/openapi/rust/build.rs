//! Generates the client from the document of the service.

use std::path::PathBuf;

use openapi_to_rust::{CodeGenerator, GeneratorConfig, SchemaAnalyzer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let document = std::env::var("OPENAPI")?;
    println!("cargo::rerun-if-changed={document}");
    println!("cargo::rerun-if-env-changed=OPENAPI");
    let mut analyzer = SchemaAnalyzer::new(serde_json::from_str(&std::fs::read_to_string(document)?)?)?;
    let mut analysis = analyzer.analyze()?;
    let generator = CodeGenerator::new(GeneratorConfig {
        output_dir: PathBuf::from(std::env::var("OUT_DIR")?),
        enable_sse_client: false,
        ..GeneratorConfig::default()
    });
    let generated = generator.generate_all(&mut analysis)?;
    generator.write_files(&generated)?;
    Ok(())
}
