//! The istio-manager operator.
