//! Which files of a repository of models are fetched: one model, and what belongs to it.

use crate::files::RelativePath;
use crate::model;

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// The model file.
    pub(super) model: RelativePath,
    /// Files that belong to it: configuration, tokenizer, labels.
    pub(super) sides: Vec<RelativePath>,
}

/// Models that an error names.
const NAMED: usize = 12;

/// Chooses among the `paths` of a repository: the file or the folder `wanted`, or the one model that there is. Why there
/// is no choice, as the rest of a sentence.
pub(super) fn choose(paths: &[RelativePath], wanted: Option<&RelativePath>) -> Result<Choice, String> {
    let model = model_of(paths, wanted)?;
    let sides = model::side_files(paths, &model).into_iter().map(|(path, _)| path.clone()).collect();
    Ok(Choice { model, sides })
}

fn model_of(paths: &[RelativePath], wanted: Option<&RelativePath>) -> Result<RelativePath, String> {
    if let Some(file) = wanted.filter(|file| paths.contains(file)) {
        return Ok(file.clone());
    }
    let below = wanted.map(|folder| format!("{}/", folder.as_str()));
    let inside = |path: &&RelativePath| below.as_ref().is_none_or(|below| path.as_str().starts_with(below));
    let mut models: Vec<&RelativePath> = paths.iter().filter(inside).filter(|path| is_model(path)).collect();
    models.sort();
    // ONNX Runtime's own form stands beside what it was made of, as in a folder.
    let is_onnx = |path: &&RelativePath| path.as_str().to_lowercase().ends_with(".onnx");
    if models.iter().any(is_onnx) {
        models.retain(is_onnx);
    }
    // What exporters call the model itself, beside variants of it.
    let plain: Vec<&&RelativePath> = models.iter().filter(|path| path.split().1 == "model.onnx").collect();
    let all = |models: &[&RelativePath]| {
        let names = models.iter().take(NAMED).map(|path| format!("`{}`", path.as_str())).collect::<Vec<_>>().join(", ");
        if models.len() > NAMED { format!("{names}, …") } else { names }
    };
    match (models.as_slice(), plain.as_slice(), wanted) {
        ([only], _, _) => Ok((*only).clone()),
        (_, [plain], _) => Ok((**plain).clone()),
        ([], _, Some(wanted)) => {
            let others: Vec<&RelativePath> = paths.iter().filter(|path| is_model(path)).collect();
            let there = if others.is_empty() { "no models".into() } else { all(&others) };
            Err(format!("has no `{}`: there are {there}", wanted.as_str()))
        }
        ([], _, None) => {
            let some: Vec<&RelativePath> = paths.iter().take(NAMED).collect();
            Err(format!("holds no ONNX model, but {}", if some.is_empty() { "nothing".into() } else { all(&some) }))
        }
        (models, _, _) => Err(format!("holds several models, of which one has to be named after it: {}", all(models))),
    }
}

/// The paths as seen from the folder of `model`.
pub(super) fn beside(model: &RelativePath, paths: &[RelativePath]) -> Vec<RelativePath> {
    let (folder, _) = model.split();
    let joined = |path: &RelativePath| match folder {
        "" => path.clone(),
        folder => format!("{folder}/{}", path.as_str()).parse().expect("two relative paths make one"),
    };
    paths.iter().map(joined).collect()
}

/// Whether a file could be one to serve, by its name.
pub(super) fn is_model(path: &RelativePath) -> bool {
    let end = path.as_str().rsplit_once('.').map(|(_, end)| end.to_lowercase());
    end.is_some_and(|end| model::EXTENSIONS.concat().contains(&end.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(paths: &[&str], wanted: Option<&str>) -> Result<(String, Vec<String>), String> {
        let paths: Vec<RelativePath> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let wanted = wanted.map(|wanted| wanted.parse().unwrap());
        let choice = choose(&paths, wanted.as_ref())?;
        Ok((choice.model.into(), choice.sides.into_iter().map(Into::into).collect()))
    }

    #[test]
    fn one_model_is_chosen_with_what_belongs_to_it() {
        let paths =
            ["README.md", "config.json", "onnx/model.onnx", "onnx/model_int8.onnx", "tokenizer.json", "x/vocab.txt"];
        let (model, sides) = chosen(&paths, None).unwrap();
        assert_eq!(model, "onnx/model.onnx");
        assert_eq!(sides, ["config.json", "tokenizer.json"]);
        assert_eq!(chosen(&paths, Some("onnx/model_int8.onnx")).unwrap().0, "onnx/model_int8.onnx");
        assert_eq!(chosen(&paths, Some("onnx")).unwrap().0, "onnx/model.onnx");
        assert_eq!(chosen(&["only.onnx", "only.ort"], None).unwrap().0, "only.onnx");
        assert_eq!(chosen(&["only.ort"], None).unwrap().0, "only.ort");
    }

    #[test]
    fn without_one_it_is_said_what_there_is() {
        let several = chosen(&["a.onnx", "b.onnx"], None).unwrap_err();
        assert!(several.ends_with("named after it: `a.onnx`, `b.onnx`"), "{several}");
        let missing = chosen(&["a.onnx"], Some("c.onnx")).unwrap_err();
        assert_eq!(missing, "has no `c.onnx`: there are `a.onnx`");
        let none = chosen(&["model.safetensors"], None).unwrap_err();
        assert_eq!(none, "holds no ONNX model, but `model.safetensors`");
    }
}
