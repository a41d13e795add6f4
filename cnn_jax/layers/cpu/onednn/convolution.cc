// oneDNN's convolution and its two gradients as XLA FFI targets, on NHWC images and HWIO kernels.
//
// Images x, kernel k and outputs y are bound by one geometry. A target computes one of the three
// from the other two:
//
//     cnn_jax_convolve         x, k -> y
//     cnn_jax_spread           y, k -> x     the gradient by the images
//     cnn_jax_kernel_gradient  x, y -> k     the gradient by the kernel
//
// The three shapes and the geometry are attributes, so that everything oneDNN has to decide is
// decided once, when XLA loads a program (`instantiate`), and a call (`execute`) only runs it. What
// is decided belongs to the program and is freed with it; calls share it and change nothing in it,
// so that several devices may run one program at once.

#include <memory>
#include <string_view>
#include <unordered_map>

#include "oneapi/dnnl/dnnl.hpp"
#include "onednn.h"

namespace {

using dnnl::memory;
using Dims = xla::ffi::Span<const int64_t>;

enum class Wanted { kOutputs, kImages, kKernel };  // in the order of convolution.py

struct Convolution {
  static xla::ffi::TypeId id;

  Wanted wanted;
  int64_t threads;
  dnnl::primitive primitive;
  // How images and outputs lie in memory, the kernel as ours and as oneDNN wants it.
  memory::desc images, outputs, kernel, inner_kernel, scratch;
  dnnl::reorder reorder;  // between the two kernels; empty where they are the same

  bool plain;  // oneDNN has nothing better for it than a plain loop, slower than XLA's

  void choose(const dnnl::primitive_desc& chosen, const memory::desc& kernel_desc) {
    inner_kernel = kernel_desc;
    scratch = chosen.scratchpad_desc();
    plain = std::string_view(chosen.impl_info_str()).substr(0, 3) == "ref";
  }

  size_t inner_kernel_bytes() const { return reorder ? padded(inner_kernel.get_size()) : 0; }
};

xla::ffi::TypeId Convolution::id = {};

memory::desc nhwc(Dims shape, memory::data_type type) {
  return memory::desc({shape[0], shape[3], shape[1], shape[2]}, type, memory::format_tag::nhwc);
}

// HWIO [height, width, channels a group, features]; the features of a group are neighbours.
memory::dims kernel_dims(Dims shape, int64_t groups) {
  return {groups, shape[3] / groups, shape[2], shape[0], shape[1]};
}

memory::desc hwio(Dims shape, int64_t groups, memory::data_type type) {
  const int64_t features = shape[3], row = shape[2] * features;
  return memory::desc(kernel_dims(shape, groups), type,
                      memory::dims{features / groups, 1, features, shape[1] * row, row});
}

struct Geometry {
  Dims images, kernel, outputs, stride, padding, dilation;
  int64_t groups;
  bool half;
};

// Throws dnnl::error where oneDNN has no implementation.
std::unique_ptr<Convolution> plan(Wanted wanted, const Geometry& at) {
  const memory::data_type type = at.half ? memory::data_type::bf16 : memory::data_type::f32;
  auto plan = std::make_unique<Convolution>();
  plan->wanted = wanted;
  plan->images = nhwc(at.images, type);
  plan->outputs = nhwc(at.outputs, type);
  plan->kernel = hwio(at.kernel, at.groups, type);
  const memory::desc any(kernel_dims(at.kernel, at.groups), type, memory::format_tag::any);

  const memory::dims strides{at.stride[0], at.stride[1]};
  const memory::dims between{at.dilation[0] - 1, at.dilation[1] - 1};  // oneDNN counts the gaps
  const memory::dims before{at.padding[0], at.padding[2]}, after{at.padding[1], at.padding[3]};
  dnnl::primitive_attr options;
  options.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto direct = dnnl::algorithm::convolution_direct;

  const dnnl::convolution_forward::primitive_desc forward(
      engine(), dnnl::prop_kind::forward_training, direct, plan->images, any, plan->outputs,
      strides, between, before, after, options);
  if (wanted == Wanted::kOutputs) {
    plan->choose(forward, forward.weights_desc());
    plan->primitive = dnnl::convolution_forward(forward);
  } else if (wanted == Wanted::kImages) {
    const dnnl::convolution_backward_data::primitive_desc backward(
        engine(), direct, plan->images, any, plan->outputs, strides, between, before, after,
        forward, options);
    plan->choose(backward, backward.weights_desc());
    plan->primitive = dnnl::convolution_backward_data(backward);
  } else {
    const dnnl::convolution_backward_weights::primitive_desc backward(
        engine(), direct, plan->images, any, plan->outputs, strides, between, before, after,
        forward, options);
    plan->choose(backward, backward.diff_weights_desc());
    plan->primitive = dnnl::convolution_backward_weights(backward);
  }

  if (plan->inner_kernel != plan->kernel) {
    const bool out = wanted == Wanted::kKernel;
    plan->reorder = dnnl::reorder(dnnl::reorder::primitive_desc(
        engine(), out ? plan->inner_kernel : plan->kernel, engine(),
        out ? plan->kernel : plan->inner_kernel));
  }
  return plan;
}

template <Wanted wanted>
xla::ffi::ErrorOr<std::unique_ptr<Convolution>> instantiate(xla::ffi::Dictionary attributes) {
  try {
    const Threads threads(attributes.get<int64_t>("threads").value());
    const auto dims = [&](const char* name) { return attributes.get<Dims>(name).value(); };
    auto made = plan(wanted, {dims("images"), dims("kernel"), dims("outputs"), dims("stride"),
                              dims("padding"), dims("dilation"),
                              attributes.get<int64_t>("groups").value(),
                              attributes.get<bool>("half").value()});
    made->threads = attributes.get<int64_t>("threads").value();
    return made;
  } catch (const dnnl::error& error) {
    return xla::ffi::Unexpected(failure("convolution", error));
  }
}

// a and b are the two given ones, in the order of the head of this file.
xla::ffi::Error execute(Convolution* plan, xla::ffi::Dictionary, xla::ffi::AnyBuffer a,
                        xla::ffi::AnyBuffer b, xla::ffi::Result<xla::ffi::AnyBuffer> result) {
  try {
    const Threads threads(plan->threads);
    void *first = a.untyped_data(), *second = b.untyped_data(), *made = result->untyped_data();
    const Wanted wanted = plan->wanted;
    memory images(plan->images, engine(), wanted == Wanted::kImages ? made : first);
    memory outputs(plan->outputs, engine(),
                   wanted == Wanted::kOutputs  ? made
                   : wanted == Wanted::kImages ? first
                                               : second);
    memory ours(plan->kernel, engine(), wanted == Wanted::kKernel ? made : second);

    std::byte* space = scratch(plan->inner_kernel_bytes() + plan->scratch.get_size());
    memory inner = plan->reorder ? memory(plan->inner_kernel, engine(), space) : ours;
    memory pad(plan->scratch, engine(), space + plan->inner_kernel_bytes());

    if (plan->reorder && wanted != Wanted::kKernel) plan->reorder.execute(stream(), ours, inner);
    std::unordered_map<int, memory> arguments{{DNNL_ARG_SCRATCHPAD, pad}};
    if (wanted == Wanted::kOutputs) {
      arguments.insert({{DNNL_ARG_SRC, images}, {DNNL_ARG_WEIGHTS, inner}, {DNNL_ARG_DST, outputs}});
    } else if (wanted == Wanted::kImages) {
      arguments.insert(
          {{DNNL_ARG_DIFF_SRC, images}, {DNNL_ARG_WEIGHTS, inner}, {DNNL_ARG_DIFF_DST, outputs}});
    } else {
      arguments.insert(
          {{DNNL_ARG_SRC, images}, {DNNL_ARG_DIFF_WEIGHTS, inner}, {DNNL_ARG_DIFF_DST, outputs}});
    }
    plan->primitive.execute(stream(), arguments);
    if (plan->reorder && wanted == Wanted::kKernel) plan->reorder.execute(stream(), inner, ours);
    stream().wait();
    return xla::ffi::Error::Success();
  } catch (const dnnl::error& error) {
    return failure("convolution", error);
  }
}

}  // namespace

#define CNN_JAX_INSTANTIATE(name, wanted)                  \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, instantiate<wanted>, \
                                xla::ffi::Ffi::BindInstantiate().Attrs())
CNN_JAX_INSTANTIATE(cnn_jax_convolve_instantiate, Wanted::kOutputs);
CNN_JAX_INSTANTIATE(cnn_jax_spread_instantiate, Wanted::kImages);
CNN_JAX_INSTANTIATE(cnn_jax_kernel_gradient_instantiate, Wanted::kKernel);

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_convolution_execute, execute,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::State<Convolution>>()
                                  .Attrs()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>());

extern "C" {
// Whether oneDNN has what is wanted, and a fast one, so that what it has not is left to XLA.
bool cnn_jax_convolution_takes(const int64_t* images, const int64_t* kernel, const int64_t* outputs,
                               const int64_t* stride, const int64_t* padding,
                               const int64_t* dilation, int64_t groups, bool half, int64_t number,
                               int64_t wanted) {
  const Threads threads(number);
  const Geometry geometry{Dims(images, 4),  Dims(kernel, 4),   Dims(outputs, 4), Dims(stride, 2),
                          Dims(padding, 4), Dims(dilation, 2), groups,           half};
  try {
    return !plan(static_cast<Wanted>(wanted), geometry)->plain;
  } catch (const dnnl::error&) {
    return false;
  }
}

const void* cnn_jax_convolution_type_id() { return &Convolution::id; }
const void* cnn_jax_convolution_type_info() {
  static const auto info = xla::ffi::MakeTypeInfo<Convolution>();
  return &info;
}
}
