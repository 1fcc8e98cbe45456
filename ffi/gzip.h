// The C++ side of src/codec/gzip/bridge.rs: raw deflate by the system's zlib,
// and by libdeflate where it is built in (WALKEEP_LIBDEFLATE).
//
// It owns the z_stream and the compressors. Input and output are slices that
// Rust lends for the length of one call: nothing here keeps a pointer to them,
// and nothing is copied but by the encoders themselves. No function throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <zlib.h>

#ifdef WALKEEP_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "rust/cxx.h"

namespace walkeep::gzip {

// One byte of room for output: memory that may never have been written.
struct Room {
  std::uint8_t byte;
};

using Input = rust::Slice<const std::uint8_t>;
using Output = rust::Slice<Room>;

// Both are generated from bridge.rs.
enum class Outcome : std::uint8_t;
struct Step;

// A raw deflate stream (RFC 1951) being written by zlib.
class Deflater {
 public:
  Deflater() = default;
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  ~Deflater();

  bool init(int level) noexcept;
  Step step(Input input, Output output, bool finish) noexcept;
  std::size_t bound(std::size_t input_size) noexcept;
  bool reset() noexcept;

 private:
  z_stream stream_{};
  bool ready_ = false;
};

// A raw deflate stream being read by zlib.
class Inflater {
 public:
  Inflater() = default;
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater();

  bool init() noexcept;
  Step step(Input input, Output output) noexcept;
  bool reset() noexcept;

 private:
  z_stream stream_{};
  bool ready_ = false;
};

// Null when memory is short or the level is not zlib's.
std::unique_ptr<Deflater> new_deflater(std::int32_t level) noexcept;
std::unique_ptr<Inflater> new_inflater() noexcept;

std::uint32_t zlib_crc32(std::uint32_t crc, Input input) noexcept;
std::uint32_t zlib_crc32_combine(std::uint32_t first, std::uint32_t second,
                                 std::uint64_t second_size) noexcept;

#ifdef WALKEEP_LIBDEFLATE

// libdeflate's compressor: one call for a whole raw deflate stream.
class BlockDeflater {
 public:
  explicit BlockDeflater(int level) noexcept;
  BlockDeflater(const BlockDeflater&) = delete;
  BlockDeflater& operator=(const BlockDeflater&) = delete;
  ~BlockDeflater();

  bool ready() const noexcept { return compressor_ != nullptr; }
  std::size_t bound(std::size_t input_size) noexcept;
  // The size of the stream; 0 when `output` is too small for it.
  std::size_t deflate(Input input, Output output) noexcept;

 private:
  libdeflate_compressor* compressor_;
};

// libdeflate's decompressor: one call for a whole raw deflate stream.
class BlockInflater {
 public:
  BlockInflater() noexcept;
  BlockInflater(const BlockInflater&) = delete;
  BlockInflater& operator=(const BlockInflater&) = delete;
  ~BlockInflater();

  bool ready() const noexcept { return decompressor_ != nullptr; }
  Step inflate(Input input, Output output) noexcept;

 private:
  libdeflate_decompressor* decompressor_;
};

std::unique_ptr<BlockDeflater> new_block_deflater(std::int32_t level) noexcept;
std::unique_ptr<BlockInflater> new_block_inflater() noexcept;

std::uint32_t block_crc32(std::uint32_t crc, Input input) noexcept;

#endif

}  // namespace walkeep::gzip
