//! That the judge knows the custom resources that a chart may make: it takes a good one, and sees a misspelt field.

use crate::tools;

/// One good object of each kind, and a field of it.
const OBJECTS: [(&str, &str); 11] = [
    (
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, spec: {parentRefs: [{name: gateway}],
          rules: [{backendRefs: [{name: digits, port: 8000, weight: 90}]}]}}",
        "weight",
    ),
    (
        "{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, spec: {parentRefs: [{name: gateway}],
          rules: [{backendRefs: [{name: digits, port: 8001}]}]}}",
        "parentRefs",
    ),
    (
        "{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, spec: {targetRefs: [{group: '',
          kind: Service, name: digits}], validation: {hostname: digits, wellKnownCACertificates: System}}}",
        "hostname",
    ),
    (
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, spec: {hosts: [digits],
          http: [{route: [{destination: {host: digits}, weight: 90}]}]}}",
        "destination",
    ),
    (
        "{apiVersion: networking.istio.io/v1, kind: DestinationRule, spec: {host: digits,
          trafficPolicy: {tls: {mode: SIMPLE}}}}",
        "trafficPolicy",
    ),
    (
        "{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, spec: {scaleTargetRef: {name: digits}, triggers: [{
          type: prometheus, metadata: {query: up}}]}}",
        "triggers",
    ),
    (
        "{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, spec: {selector: {},
          podMetricsEndpoints: [{port: http}]}}",
        "podMetricsEndpoints",
    ),
    (
        "{apiVersion: monitoring.coreos.com/v1, kind: ServiceMonitor, spec: {selector: {}, endpoints: [{port: http}]}}",
        "endpoints",
    ),
    (
        "{apiVersion: monitoring.coreos.com/v1, kind: PrometheusRule, spec: {groups: [{name: a, rules: [{alert: A,
          expr: up == 0}]}]}}",
        "expr",
    ),
    (
        "{apiVersion: external-secrets.io/v1, kind: ExternalSecret, spec: {secretStoreRef: {name: vault,
          kind: ClusterSecretStore}, data: [{secretKey: token, remoteRef: {key: digits}}]}}",
        "remoteRef",
    ),
    (
        "{apiVersion: secrets-store.csi.x-k8s.io/v1, kind: SecretProviderClass, spec: {provider: vault,
          parameters: {objects: a}}}",
        "parameters",
    ),
];

#[test]
fn the_judge_knows_the_custom_resources_field_by_field() {
    let newest = &tools::KUBERNETES[2..];
    for (object, field) in OBJECTS {
        let object = object.replacen("spec:", "metadata: {name: digits}, spec:", 1);
        tools::kubeconform_for(&[("good".into(), object.clone())], newest).unwrap();
        let misspelt = format!("{field}x");
        let wrong = object.replacen(&format!("{field}:"), &format!("{misspelt}:"), 1);
        let said = tools::kubeconform_for(&[("misspelt".into(), wrong)], newest).unwrap_err();
        assert!(said.contains(&misspelt), "{object}\n{said}");
    }
}
