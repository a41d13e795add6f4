// What the operators have in common: one engine, a stream and scratch memory a thread, errors.

#ifndef CNN_JAX_ONEDNN_H_
#define CNN_JAX_ONEDNN_H_

#include <cstddef>
#include <cstdlib>
#include <string>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

// Of the OpenMP that oneDNN was built with, whatever the compiler's own is.
extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int);
}

inline dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

inline dnnl::stream& stream() {
  static thread_local dnnl::stream own(engine());
  return own;
}

inline size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Memory of this thread that lasts until its next call; it grows to what its largest call needs and
// is kept until the thread ends, because fresh memory would cost a page fault for every 4 kB.
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

// The number of OpenMP's threads while it lives. OpenMP keeps it for each calling thread, and
// oneDNN divides the work by it when a primitive is made: it must then run with as many.
class Threads {
 public:
  explicit Threads(int64_t number) : before_(omp_get_max_threads()) { omp_set_num_threads(number); }
  ~Threads() { omp_set_num_threads(before_); }

 private:
  int before_;
};

inline xla::ffi::Error failure(const std::string& operation, const dnnl::error& error) {
  return xla::ffi::Error::Internal("oneDNN's " + operation + " failed: " + error.what());
}

#endif  // CNN_JAX_ONEDNN_H_
