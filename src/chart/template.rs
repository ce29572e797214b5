//! The files of `charts-template/`, built into the program.

/// `values.yaml`, with its marks.
pub(super) const VALUES: &str = include_str!("../../charts-template/values.yaml");

macro_rules! copied {
    ($($path:literal),+ $(,)?) => {
        /// The files that every chart has unchanged, by their paths in it.
        pub(super) const COPIED: &[(&str, &str)] = &[$(($path, include_str!(concat!("../../charts-template/", $path)))),+];
    };
}

copied!(
    ".helmignore",
    "templates/NOTES.txt",
    "templates/_canary.tpl",
    "templates/_monitoring.tpl",
    "templates/_names.tpl",
    "templates/_placement.tpl",
    "templates/_pod.tpl",
    "templates/_secrets.tpl",
    "templates/_scaling.tpl",
    "templates/_ways.tpl",
    "templates/canary/configmap.yaml",
    "templates/canary/deployment.yaml",
    "templates/canary/destinationrule.yaml",
    "templates/canary/ingress.yaml",
    "templates/canary/networkpolicy.yaml",
    "templates/canary/poddisruptionbudget.yaml",
    "templates/canary/service.yaml",
    "templates/configmap.yaml",
    "templates/dashboards.yaml",
    "templates/deployment.yaml",
    "templates/extra.yaml",
    "templates/gateway/backendtlspolicy.yaml",
    "templates/gateway/grpcroute.yaml",
    "templates/gateway/httproute.yaml",
    "templates/horizontalpodautoscaler.yaml",
    "templates/ingress.yaml",
    "templates/istio/destinationrule.yaml",
    "templates/istio/virtualservice.yaml",
    "templates/networkpolicy.yaml",
    "templates/persistentvolumeclaim.yaml",
    "templates/poddisruptionbudget.yaml",
    "templates/podmonitor.yaml",
    "templates/prometheusrule.yaml",
    "templates/secrets/externalsecret.yaml",
    "templates/secrets/secretproviderclass.yaml",
    "templates/prometheusadapter.yaml",
    "templates/scaledobject.yaml",
    "templates/service.yaml",
    "templates/serviceaccount.yaml",
    "templates/servicemonitor.yaml",
    "templates/tests/canary.yaml",
    "templates/tests/request.yaml",
);
