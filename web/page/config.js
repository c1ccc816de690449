// A layer's configuration, as Keras writes it: the constructor's arguments, alone or in an object that names the class.

export const argumentsOf = (config) => (config?.class_name ? config.config : config);
