//! What both roads share: a pool of instances behind PluginInterface.
