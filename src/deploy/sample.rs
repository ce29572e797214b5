//! The recorded sample: what a service is asked once it runs, and whether it answers as the model did at the build.

use std::path::Path;

use nimify_runtime::codec::predict;
use nimify_runtime::signature::{ModelSignature, Shape, ValueSpec, ValueType};

use super::Error;
use crate::alike;

/// Largest sample that is read, bytes.
const LARGEST: u64 = 64 << 20;

/// A request with the answer that was recorded for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The body of the request.
    pub request: Vec<u8>,
    /// The answer's body.
    pub response: Vec<u8>,
    /// What the answer consists of, in the place of inputs.
    answer: ModelSignature,
}

impl Sample {
    /// Reads the sample of an output folder; `None` where none was recorded.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let read = |name: &str| -> Result<Option<Vec<u8>>, Error> {
            let path = folder.join(name);
            let failed = |source| Error::Files { attempt: "read", path: path.clone(), source };
            match std::fs::metadata(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(error)),
                Ok(data) if data.len() > LARGEST => Ok(None),
                Ok(_) => std::fs::read(&path).map(Some).map_err(failed),
            }
        };
        let (request, response) = (read("samples/request.json")?, read("samples/response.json")?);
        let (Some(request), Some(response), Some(signature)) = (request, response, read("signature.json")?) else {
            return Ok(None);
        };
        let signature: ModelSignature = serde_json::from_slice(&signature)
            .map_err(|error| Error::Sample { reason: format!("`signature.json` can't be read: {error}") })?;
        Ok(Some(Sample { request, response, answer: answer(&signature) }))
    }

    /// What is different in another answer, in a clause; `None` where nothing is but rounding.
    pub fn difference(&self, other: &[u8]) -> Result<Option<String>, Error> {
        let recorded = predict::decode(&self.response, &self.answer)
            .map_err(|error| Error::Sample { reason: format!("the recorded answer can't be read: {error}") })?;
        let Ok(found) = predict::decode(other, &self.answer) else {
            let text: String = String::from_utf8_lossy(other).chars().filter(|c| !c.is_control()).take(200).collect();
            return Ok(Some(format!("it answered `{text}`, which is of another form")));
        };
        let differs = |((spec, was), is): ((&ValueSpec, _), _)| {
            alike::difference(was, is).map(|difference| format!("`{}`: {difference}", spec.name))
        };
        Ok(self.answer.inputs.iter().zip(&recorded).zip(&found).find_map(differs))
    }
}

/// The outputs as what is to be read. Sizes are left open: models answer other shapes than they declare.
fn answer(signature: &ModelSignature) -> ModelSignature {
    let open = |spec: &ValueSpec| ValueSpec { name: spec.name.clone(), value_type: opened(&spec.value_type) };
    ModelSignature {
        inputs: signature.outputs.iter().map(open).collect(),
        outputs: Vec::new(),
        batching: signature.batching.clone(),
    }
}

fn opened(value_type: &ValueType) -> ValueType {
    match value_type {
        ValueType::Tensor { element_type, .. } => ValueType::Tensor { element_type: *element_type, shape: Shape(None) },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use nimify_runtime::signature::ElementType;

    use super::*;

    fn sample(folder: &Path) -> Sample {
        Sample::read(folder).unwrap().unwrap()
    }

    #[test]
    fn answers_are_compared_but_for_rounding() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Sample::read(home.path()).unwrap(), None);
        std::fs::create_dir(home.path().join("samples")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
        write("samples/request.json", r#"{"x":[1.0]}"#);
        write("samples/response.json", r#"{"label":[3],"scores":[[0.1,0.9,"NaN"]]}"#);
        let batching = serde_json::json!({"verdict": "unproved", "reason": "none"});
        let signature = ModelSignature {
            inputs: Vec::new(),
            outputs: Vec::new(),
            batching: serde_json::from_value(batching).unwrap(),
        };
        let tensor = |name: &str, element_type| ValueSpec {
            name: name.into(),
            value_type: ValueType::Tensor { element_type, shape: Shape(None) },
        };
        let outputs = vec![tensor("label", ElementType::Int64), tensor("scores", ElementType::Float32)];
        let signature = ModelSignature { outputs, ..signature };
        write("signature.json", &serde_json::to_string(&signature).unwrap());
        let difference = |text: &str| sample(home.path()).difference(text.as_bytes()).unwrap();
        assert_eq!(difference(r#"{"scores":[[0.10000001,0.9,"NaN"]],"label":[3]}"#), None);
        let told = difference(r#"{"label":[3],"scores":[[0.2,0.9,"NaN"]]}"#).unwrap();
        assert!(told.starts_with("`scores`: 0.2") && told.contains("where it was 0.1"), "{told}");
        assert_eq!(difference(r#"{"label":[4],"scores":[[0.1,0.9,"NaN"]]}"#).unwrap(), "`label`: its elements differ");
        for other in [r#"{"error":{}}"#, "", "{", r#"{"label":[3]}"#, r#"{"label":["a"],"scores":[]}"#] {
            assert!(difference(other).unwrap().contains("of another form"), "{other}");
        }
        write("signature.json", "{");
        assert!(Sample::read(home.path()).is_err());
    }
}
