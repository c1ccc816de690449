// g = gradient[i] (· clip_scale, with CLIP)                gradient, variable, momentum, velocity [count]
// variable[i] −= variable[i] · weight_decay · learning_rate
// momentum[i] += (g − momentum[i]) · (1 − beta_1)
// velocity[i] += (g² − velocity[i]) · (1 − beta_2)
// variable[i] −= alpha · momentum[i] / (√velocity[i] + epsilon)
//                                    alpha = learning_rate · √(1 − beta_2^t) / (1 − beta_1^t), t from 1, by the host

#import shared/grid
#import training/update

@group(0) @binding(4) var<storage, read_write> momentum: array<f32>;
@group(0) @binding(5) var<storage, read_write> velocity: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_element(workgroup, workgroups, lane, params.count);
    if (i >= params.count) {
        return;
    }
    let g = clipped_gradient(i);
    let value = decayed_variable(i);
    let m = momentum[i] + (g - momentum[i]) * params.momentum_share;
    let v = velocity[i] + (g * g - velocity[i]) * params.velocity_share;
    momentum[i] = m;
    velocity[i] = v;
    variable[i] = value - params.alpha * m / (sqrt(v) + params.epsilon);
}
