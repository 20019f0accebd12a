// Which cells are compiled: a cell is its file and its place in this table.
#pragma once

#include "gru.h"
#include "lstm.h"
#include "rnn.h"

namespace {

template <class... Cell> struct CellTable {};

using Cells = CellTable<LSTM, RNN, GRU>;

}  // namespace
