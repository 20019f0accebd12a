"""Estimators and layers to ONNX files, and from them: `xlstm.to_onnx`, `xlstm.from_onnx`."""
