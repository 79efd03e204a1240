//! Go's text/template language with the Sprig and Helm functions
