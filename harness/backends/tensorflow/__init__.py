"""TensorFlow through Keras 3 and KerasHub; the only folder that imports them."""
