//! ONNX Runtime's error texts, made fit for a client: no source paths, no C++ signatures, one line, of bounded length.

/// Longest message passed on, bytes.
const LONGEST: usize = 600;

/// Cleans `text`. What ONNX Runtime writes is `... Status Message: /src/file.h:47 ret ns::Function(args) what happened`.
pub(super) fn clean(text: &str) -> String {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some((word, after)) = next_word(rest) {
        rest = after;
        if is_source_location(word) {
            rest = after_signature(rest);
        } else if is_path(word) {
            words.push("<path>");
        } else {
            words.push(word);
        }
    }
    let mut line = words.join(" ");
    if line.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&k| line.is_char_boundary(k)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

/// What to do about it, where the words of ONNX Runtime are for whoever set the machine up and the model can be helped.
pub(super) fn advice(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Failed to construct locale with name:")?;
    let locale: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-.@".contains(*c)).take(40).collect();
    Some(format!(
        "the locale `{locale}`, by which the model's `StringNormalizer` changes the case of letters, isn't installed \
         here: install it, or set the node's attribute `locale` to `C`, which knows the letters of ASCII"
    ))
}

fn next_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    let end = text.find(|c: char| c.is_whitespace() || c.is_control()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_source_location(word: &str) -> bool {
    [".h:", ".cc:", ".cpp:"].iter().any(|mark| word.contains(mark)) && word.contains('/')
}

/// An absolute path of more than one part, perhaps quoted or in brackets.
fn is_path(word: &str) -> bool {
    let bare = word.trim_start_matches(['"', '\'', '(', '[', '`']);
    bare.starts_with('/') && bare[1..].contains('/')
}

/// Skips `ret ns::Function(args) const [with T = U]` where that is what `text` begins with.
fn after_signature(text: &str) -> &str {
    let Some(open) = text.find('(') else { return text };
    if !text[..open].contains("::") && text[..open].split_whitespace().count() > 1 {
        return text;
    }
    let mut depth = 0usize;
    for (k, c) in text[open..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return after_suffix(&text[open + k + 1..]),
            ')' => depth -= 1,
            _ => {}
        }
    }
    text
}

fn after_suffix(text: &str) -> &str {
    let text = text.trim_start();
    let text = text.strip_prefix("const").map_or(text, str::trim_start);
    match text.strip_prefix("[with ").and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => rest,
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_locations_and_signatures_go_and_the_reason_stays() {
        let text = "Non-zero status code returned while running Reshape node. Name:'r' Status Message: \
            /onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:47 \
            onnxruntime::ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, std::function<void (int)>) \
            input_shape_size == size was false. Input shape:{2,3}, requested shape:{4}\n";
        let want = "Non-zero status code returned while running Reshape node. Name:'r' Status Message: \
            input_shape_size == size was false. Input shape:{2,3}, requested shape:{4}";
        assert_eq!(clean(text), want);
        let text =
            "a.cc /x/y.cc:3 virtual onnxruntime::common::Status ns::F<T>::Compute(Ctx*) const [with T = float] no";
        assert_eq!(clean(text), "a.cc no");
    }

    #[test]
    fn a_locale_that_is_missing_comes_with_advice() {
        let text = "Failed to construct locale with name:en_US.UTF-8:locale::facet::_S_create_c_locale name not valid:\
            Please, install necessary language-pack-XX and configure locales";
        assert!(advice(text).unwrap().starts_with("the locale `en_US.UTF-8`, by which "));
        assert_eq!(advice("Load model from <path> failed"), None);
    }

    #[test]
    fn host_paths_go_and_length_is_bounded() {
        assert_eq!(clean("Load model from /home/me/m.onnx failed: 1/2"), "Load model from <path> failed: 1/2");
        assert!(clean(&"ü".repeat(5000)).len() <= LONGEST + 4);
        assert_eq!(clean(""), "");
        assert_eq!(clean("/x/y.h:1 f(("), "f((");
    }
}
