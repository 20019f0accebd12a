"""Level 2 on CUDA GPUs: cuDNN's recurrent layers, through its C interface, where the library is installed."""
