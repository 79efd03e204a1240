//! Istio's charts as a bundle, their profiles and values, and their rendering to Kubernetes objects
