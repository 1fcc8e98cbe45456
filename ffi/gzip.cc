#include "walkeep/ffi/gzip.h"

#include <algorithm>
#include <limits>
#include <new>

#include "walkeep/src/codec/gzip/bridge.rs.h"

namespace walkeep::gzip {

namespace {

// No zlib header, no checksum: the gzip framing around the stream is Rust's.
constexpr int kRawDeflate = -MAX_WBITS;

// zlib's default of 8 and its largest, 9, differ by nothing on WAL; the
// default is what `gzip -9` uses.
constexpr int kMemLevel = 8;

// What zlib can be told of at once: its counters are unsigned int.
uInt at_most(std::size_t size) noexcept {
  return static_cast<uInt>(
      std::min<std::size_t>(size, std::numeric_limits<uInt>::max()));
}

// Lends both slices to the stream, runs one call of zlib, and takes them back.
template <typename Call>
Step lend(z_stream& stream, Input input, Output output, Call call) noexcept {
  const uInt lent_in = at_most(input.size());
  const uInt lent_out = at_most(output.size());
  // zlib does not write through next_in; it lacks const unless ZLIB_CONST.
  stream.next_in = const_cast<Bytef*>(input.data());
  stream.avail_in = lent_in;
  // An empty slice has a non-null, dangling address, which zlib's check for
  // null accepts and which it never reads or writes, the length being 0.
  stream.next_out = reinterpret_cast<Bytef*>(output.data());
  stream.avail_out = lent_out;

  const int result = call(stream);

  Step step;
  step.consumed = lent_in - stream.avail_in;
  step.produced = lent_out - stream.avail_out;
  stream.next_in = nullptr;
  stream.avail_in = 0;
  stream.next_out = nullptr;
  stream.avail_out = 0;
  switch (result) {
    case Z_STREAM_END:
      step.outcome = Outcome::Ended;
      break;
    case Z_OK:
    case Z_BUF_ERROR:  // no progress was possible; not fatal (zlib.h)
      step.outcome = Outcome::Going;
      break;
    case Z_MEM_ERROR:
      step.outcome = Outcome::OutOfMemory;
      break;
    default:  // Z_DATA_ERROR, Z_NEED_DICT, Z_STREAM_ERROR
      step.outcome = Outcome::Invalid;
      break;
  }
  return step;
}

}  // namespace

Deflater::~Deflater() {
  if (ready_) deflateEnd(&stream_);
}

bool Deflater::init(int level) noexcept {
  ready_ = deflateInit2(&stream_, level, Z_DEFLATED, kRawDeflate, kMemLevel,
                        Z_DEFAULT_STRATEGY) == Z_OK;
  return ready_;
}

Step Deflater::step(Input input, Output output, bool finish) noexcept {
  // Z_FINISH with more input to come would end the stream early.
  const bool all_lent = at_most(input.size()) == input.size();
  const int flush = finish && all_lent ? Z_FINISH : Z_NO_FLUSH;
  return lend(stream_, input, output,
              [flush](z_stream& stream) { return ::deflate(&stream, flush); });
}

std::size_t Deflater::bound(std::size_t input_size) noexcept {
  return deflateBound(&stream_, input_size);
}

bool Deflater::reset() noexcept { return deflateReset(&stream_) == Z_OK; }

Inflater::~Inflater() {
  if (ready_) inflateEnd(&stream_);
}

bool Inflater::init() noexcept {
  ready_ = inflateInit2(&stream_, kRawDeflate) == Z_OK;
  return ready_;
}

Step Inflater::step(Input input, Output output) noexcept {
  return lend(stream_, input, output, [](z_stream& stream) {
    return ::inflate(&stream, Z_NO_FLUSH);
  });
}

bool Inflater::reset() noexcept { return inflateReset(&stream_) == Z_OK; }

std::unique_ptr<Deflater> new_deflater(std::int32_t level) noexcept {
  std::unique_ptr<Deflater> deflater(new (std::nothrow) Deflater());
  if (deflater && !deflater->init(level)) deflater.reset();
  return deflater;
}

std::unique_ptr<Inflater> new_inflater() noexcept {
  std::unique_ptr<Inflater> inflater(new (std::nothrow) Inflater());
  if (inflater && !inflater->init()) inflater.reset();
  return inflater;
}

std::uint32_t zlib_crc32(std::uint32_t crc, Input input) noexcept {
  return static_cast<std::uint32_t>(
      ::crc32_z(crc, input.data(), input.size()));
}

std::uint32_t zlib_crc32_combine(std::uint32_t first, std::uint32_t second,
                                 std::uint64_t second_size) noexcept {
  return static_cast<std::uint32_t>(
      ::crc32_combine(first, second, static_cast<z_off_t>(second_size)));
}

#ifdef WALKEEP_LIBDEFLATE

BlockDeflater::BlockDeflater(int level) noexcept
    : compressor_(libdeflate_alloc_compressor(level)) {}

BlockDeflater::~BlockDeflater() { libdeflate_free_compressor(compressor_); }

std::size_t BlockDeflater::bound(std::size_t input_size) noexcept {
  return libdeflate_deflate_compress_bound(compressor_, input_size);
}

std::size_t BlockDeflater::deflate(Input input, Output output) noexcept {
  return libdeflate_deflate_compress(compressor_, input.data(), input.size(),
                                     output.data(), output.size());
}

BlockInflater::BlockInflater() noexcept
    : decompressor_(libdeflate_alloc_decompressor()) {}

BlockInflater::~BlockInflater() {
  libdeflate_free_decompressor(decompressor_);
}

Step BlockInflater::inflate(Input input, Output output) noexcept {
  Step step;
  std::size_t consumed = 0;
  std::size_t produced = 0;
  switch (libdeflate_deflate_decompress_ex(decompressor_, input.data(),
                                           input.size(), output.data(),
                                           output.size(), &consumed,
                                           &produced)) {
    case LIBDEFLATE_SUCCESS:
      step.outcome = Outcome::Ended;
      break;
    case LIBDEFLATE_INSUFFICIENT_SPACE:
      step.outcome = Outcome::Going;
      consumed = produced = 0;
      break;
    default:
      step.outcome = Outcome::Invalid;
      consumed = produced = 0;
      break;
  }
  step.consumed = consumed;
  step.produced = produced;
  return step;
}

std::unique_ptr<BlockDeflater> new_block_deflater(std::int32_t level) noexcept {
  std::unique_ptr<BlockDeflater> deflater(new (std::nothrow)
                                              BlockDeflater(level));
  if (deflater && !deflater->ready()) deflater.reset();
  return deflater;
}

std::unique_ptr<BlockInflater> new_block_inflater() noexcept {
  std::unique_ptr<BlockInflater> inflater(new (std::nothrow) BlockInflater());
  if (inflater && !inflater->ready()) inflater.reset();
  return inflater;
}

std::uint32_t block_crc32(std::uint32_t crc, Input input) noexcept {
  return libdeflate_crc32(crc, input.data(), input.size());
}

#endif

}  // namespace walkeep::gzip
