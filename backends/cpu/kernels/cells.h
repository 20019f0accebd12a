// Which cells are compiled: a cell is its file and its place in this table.
#pragma once

#include "lstm.h"
#include "rnn.h"

namespace {

template <class... Cell> struct CellTable {};

using Cells = CellTable<LSTM, RNN>;

}  // namespace
