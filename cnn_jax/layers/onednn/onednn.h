// What the operators have in common: one engine, a stream and scratch memory a thread, errors.

#ifndef CNN_JAX_ONEDNN_H_
#define CNN_JAX_ONEDNN_H_

#include <omp.h>

#include <cstddef>
#include <cstdlib>
#include <string>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

inline dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

inline dnnl::stream& stream() {
  static thread_local dnnl::stream own(engine());
  return own;
}

inline size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Memory of this thread that lasts until its next call; it grows and is kept, because fresh memory
// would cost a page fault for every 4 kB.
inline std::byte* scratch(size_t bytes) {
  struct Block {
    std::byte* start = nullptr;
    size_t size = 0;
    ~Block() { std::free(start); }
  };
  static thread_local Block block;
  if (bytes > block.size) {
    std::free(block.start);
    block.size = padded(bytes);
    block.start = static_cast<std::byte*>(std::aligned_alloc(64, block.size));
    if (block.start == nullptr) {
      block.size = 0;
      throw dnnl::error(dnnl_out_of_memory, "no memory for what it works in");
    }
  }
  return block.start;
}

// OpenMP keeps the number of threads for each calling thread; 0 leaves it as it is.
inline void use_threads(int64_t threads) {
  if (threads > 0 && threads != omp_get_max_threads()) omp_set_num_threads(threads);
}

inline xla::ffi::Error failure(const std::string& operation, const dnnl::error& error) {
  return xla::ffi::Error::Internal("oneDNN's " + operation + " failed: " + error.what());
}

#endif  // CNN_JAX_ONEDNN_H_
