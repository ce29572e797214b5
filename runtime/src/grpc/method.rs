//! A path → the method that answers it. Pure, so that metrics, documentation and the table of methods agree.

/// Declares [`Method`] and what is the same for each: one row a method.
macro_rules! methods {
    ($($name:ident $path:literal, $doc:literal;)+) => {
        /// A method that is served. Its number names it in the metrics, after the routes of HTTP.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Method {
            $(#[doc = $doc] $name,)+
            /// A path that nobody serves.
            Unknown,
        }

        impl Method {
            /// Every method, in the order of its number (`method as usize`).
            pub const ALL: &[Method] = &[$(Method::$name,)+ Method::Unknown];

            /// The path; the label in the metrics.
            pub fn label(self) -> &'static str {
                match self { $(Method::$name => $path,)+ Method::Unknown => "unknown gRPC method" }
            }

            /// What it answers, in a line.
            pub fn doc(self) -> &'static str {
                match self { $(Method::$name => $doc,)+ Method::Unknown => "A path that nobody serves." }
            }

            /// Finds the method of a path.
            pub fn find(path: &str) -> Method {
                match path { $($path => Method::$name,)+ _ => Method::Unknown }
            }
        }
    };
}

methods! {
    ServerLive "/inference.GRPCInferenceService/ServerLive", "Whether the process runs.";
    ServerReady "/inference.GRPCInferenceService/ServerReady", "Whether it takes requests.";
    ModelReady "/inference.GRPCInferenceService/ModelReady", "Whether the model takes requests.";
    ServerMetadata "/inference.GRPCInferenceService/ServerMetadata", "The server's name, version and extensions.";
    ModelMetadata "/inference.GRPCInferenceService/ModelMetadata", "Inputs and outputs.";
    ModelInfer "/inference.GRPCInferenceService/ModelInfer", "An inference.";
    ModelStreamInfer "/inference.GRPCInferenceService/ModelStreamInfer", "Inferences, each answered in its turn.";
    ModelConfig "/inference.GRPCInferenceService/ModelConfig", "The model's configuration in Triton's terms.";
    ModelStatistics "/inference.GRPCInferenceService/ModelStatistics", "What has been served since the start.";
    RepositoryIndex "/inference.GRPCInferenceService/RepositoryIndex", "The list of models, one long.";
    RepositoryModelLoad "/inference.GRPCInferenceService/RepositoryModelLoad",
        "Refused: the model is part of the service.";
    RepositoryModelUnload "/inference.GRPCInferenceService/RepositoryModelUnload",
        "Refused: the model is part of the service.";
    HealthCheck "/grpc.health.v1.Health/Check", "gRPC's own health check.";
    HealthWatch "/grpc.health.v1.Health/Watch", "The same, said again whenever it changes.";
    Reflection "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "gRPC's own reflection.";
    ReflectionAlpha "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "The same under its older name.";
}

impl Method {
    /// Whether it is asked every few seconds by machines.
    pub fn is_health(self) -> bool {
        use Method::{HealthCheck, HealthWatch, ModelReady, ServerLive, ServerReady};
        matches!(self, ServerLive | ServerReady | ModelReady | HealthCheck | HealthWatch)
    }

    /// Its service and its name in there; `None` for what nobody serves.
    pub(super) fn parts(self) -> Option<(&'static str, &'static str)> {
        self.label().strip_prefix('/')?.split_once('/')
    }

    /// Whether it runs the model.
    pub fn is_inference(self) -> bool {
        matches!(self, Method::ModelInfer | Method::ModelStreamInfer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_path() {
        for (number, method) in Method::ALL.iter().enumerate() {
            assert_eq!((*method as usize, Method::find(method.label())), (number, *method));
        }
        for path in ["", "/", "/inference.GRPCInferenceService", "/inference.GRPCInferenceService/", "/x/ModelInfer"] {
            assert_eq!(Method::find(path), Method::Unknown, "{path}");
        }
    }
}
